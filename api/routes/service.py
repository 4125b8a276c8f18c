"""The endpoints that need no token: welcome, limits and health."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse

from api.auth.dependencies import ServicesDep
from api.http import body, preferences, resumable_upload, upload
from api.http.http_limits import MAX_PIPELINED, HttpLimits
from api.http.root_path import root_path_of
from api.middleware.body_timeout import MIN_BYTES_PER_SECOND
from api.middleware.take_turns import AT_ONCE
from api.routes.service_models import Limits, Liveness, Readiness, Welcome
from api.state import login_limits
from api.state.services import Services
from resop import __version__
from resop.clock import CLOCK, NOTABLE_SECONDS
from resop.limits import FILE_LIMIT, OUTPUT_LIMIT, TRANSFER_LIMIT
from resop.storage.api_keys import MAX_API_KEYS
from resop.types import MAX_ARGUMENT_BYTES, MAX_COMMAND_BYTES, MAX_SECRET_BYTES

router = APIRouter(tags=["service"])


@router.get("/", response_model=dict[str, Any], responses={200: {"model": Welcome}})
def welcome(request: Request, services: ServicesDep) -> Any:
    """Describe the service: its clusters, limits and first steps. A browser gets the pages."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/pages/", 303, {"Vary": "Accept"})
    root_path = root_path_of(request.scope)
    return {
        "service": "resop",
        "version": __version__,
        "clusters": list(services.settings.clusters()),
        "login": f"POST {root_path}/auth/opn/login with username and password",
        "then": f"GET {root_path}/operators",
        "documentation": f"{root_path}/docs",
        "limits": _limits(services),
        **_openid(services, root_path),
    }


@router.get("/limits", responses={200: {"model": Limits}})
def limits(services: ServicesDep) -> dict[str, Any]:
    """List the limits of requests, in bytes, seconds and numbers."""
    return _limits(services)


@router.get("/health/live", responses={200: {"model": Liveness}})
async def live() -> dict[str, bool]:
    """Answer as long as this process runs."""
    return {"live": True}


@router.get(
    "/health/ready",
    responses={
        200: {"model": Readiness},
        503: {"model": Readiness, "description": "A part of the service fails."},
    },
)
async def ready(services: ServicesDep) -> JSONResponse:
    """Answer 200 if this process can serve requests, else 503 with the failing part.

    The parts are the database and Redis, which must take what is written to them, and the
    subscription that announces the ends of tasks and logins to this process. `reasons` says for
    each failing part why. `audit_entries_lost` is there if this process lost audit entries, and
    `clock_skew_seconds` if this machine's clock is ahead of the database's, or behind (negative).
    """
    faults = await services.readiness.faults()
    parts = {part: fault is None for part, fault in faults.items()}
    reasons = {part: fault for part, fault in faults.items() if fault is not None}
    # A process that lost audit entries serves requests all the same, but somebody should look.
    lost = {"audit_entries_lost": services.audit.lost} if services.audit.lost else {}
    explained = {"reasons": reasons} if reasons else {}
    notable = abs(CLOCK.skew) > NOTABLE_SECONDS
    skew = {"clock_skew_seconds": round(CLOCK.skew, 1)} if notable else {}
    answer = {"ready": not reasons, **parts, **explained, **lost, **skew}
    return JSONResponse(answer, 503 if reasons else 200)


def _openid(services: Services, root_path: str) -> dict[str, Any]:
    """Return what a client needs to get a token of the site's issuer, if there is one."""
    settings = services.settings
    if settings.OIDC_ISSUER is None:
        return {}
    return {
        "openid": {
            "issuer": settings.OIDC_ISSUER,
            "client_id": settings.OIDC_AUDIENCE,
            "login": f"POST {root_path}/auth/opn/login_token with id_token",
        }
    }


def _limits(services: Services) -> dict[str, Any]:
    """Return all limits."""
    settings, http = services.settings, HttpLimits.of(services.settings)
    return {
        "connections": http.connections,
        "connections_per_address": http.connections_per_address,
        "keep_alive_seconds": http.keep_alive_seconds,
        "url_bytes": http.url_bytes,
        "header_bytes": http.header_bytes,
        "header_count": http.header_count,
        "header_seconds": http.header_seconds,
        "pipelined_requests": MAX_PIPELINED,
        "requests_at_work_per_address": AT_ONCE,
        "streams_per_user": settings.STREAMS_PER_USER,
        "waits_per_user": settings.WAITS_PER_USER,
        "transfers_per_user": settings.TRANSFERS_PER_USER,
        "streams_in_all": services.open_requests.in_all,
        "waits_in_all": services.open_requests.in_all,
        "transfers_in_all": services.open_requests.in_all,
        "body_seconds": settings.BODY_SECONDS,
        "body_bytes_per_second": MIN_BYTES_PER_SECOND,
        "body_bytes": body.MAX_BODY_BYTES,
        "body_depth": body.MAX_BODY_DEPTH,
        "options": body.MAX_OPTIONS,
        "object_members": body.MAX_MEMBERS,
        "body_values": body.MAX_VALUES,
        "batch_tasks": settings.BATCH_SIZE,
        "argument_bytes": MAX_ARGUMENT_BYTES,
        "command_bytes": MAX_COMMAND_BYTES,
        "secret_bytes": MAX_SECRET_BYTES,
        "output_bytes": OUTPUT_LIMIT,
        "answer_file_bytes": FILE_LIMIT,
        "operation_file_bytes": TRANSFER_LIMIT,
        "queued_tasks": settings.QUEUED_TASKS,
        **_login_limits(),
        "logins_per_user": settings.LOGINS_PER_USER,
        "wait_seconds": preferences.MAX_WAIT_SECONDS,
        "task_seconds": settings.TASK_TIMEOUT,
        "transfer_stall_seconds": upload.STALL_SECONDS,
        "upload_kept_seconds": resumable_upload.MAX_IDLE_SECONDS,
        "token_seconds": settings.TOKEN_HOURS * 3600,
        "login_seconds": settings.login_lifetime.total_seconds(),
        "api_keys": MAX_API_KEYS,
        "api_key_seconds": settings.API_KEY_DAYS * 86_400,
    }


def _login_limits() -> dict[str, int]:
    """Return the limits of failed logins: the first pair is for one user at one address."""
    return {
        "login_failures": login_limits.PAIR.failures,
        "login_failures_seconds": login_limits.PAIR.seconds,
        "user_login_failures": login_limits.USER.failures,
        "user_login_failures_seconds": login_limits.USER.seconds,
        "address_login_failures": login_limits.ADDRESS.failures,
        "address_login_failures_seconds": login_limits.ADDRESS.seconds,
        "cluster_login_failures": login_limits.CLUSTER.failures,
        "cluster_login_failures_seconds": login_limits.CLUSTER.seconds,
        "service_login_failures": login_limits.SERVICE.failures,
        "service_login_failures_seconds": login_limits.SERVICE.seconds,
    }
