"""Build and serve the API: `python -P -m api.main`, or any ASGI server on `api.main:create_app`."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from api import pages
from api.http import errors
from api.http.connection_register import ConnectionRegister
from api.http.http_limits import HttpLimits
from api.http.openapi import openapi_document
from api.http.uvicorn_server import LOOP, STARTUP_FAILURE, ApiServer
from api.middleware.address_limit import AddressLimit
from api.middleware.allowed_hosts import AllowedHosts
from api.middleware.audit_trail import AuditTrail
from api.middleware.body_timeout import BodyTimeout
from api.middleware.head_requests import HeadRequests
from api.middleware.login_end import EndWithLogin
from api.middleware.proxy_headers import ProxyHeaders
from api.middleware.request_log import RequestLog
from api.middleware.root_path import RootPath
from api.middleware.security_headers import SecurityHeaders, cors
from api.middleware.take_turns import TakeTurns
from api.routes import (
    actions,
    api_docs,
    api_keys,
    approvals,
    audit,
    batch_launch,
    batch_results,
    batches,
    files,
    folders,
    logins,
    service,
    task_events,
    task_list,
    tasks,
)
from api.state.services import Services, make_services
from resop import __version__
from resop.access import policy_warnings
from resop.actions import author_warnings
from resop.config.data_folder import prepare_data_folder
from resop.config.hardening import harden_process, raise_open_files_limit
from resop.config.logging import log_uncaught_faults, set_up_logging
from resop.config.settings import Settings, load_settings
from resop.config.weaknesses import log_weaknesses
from resop.errors import InvalidSettings, ServiceError, SetupError

log = logging.getLogger(__name__)

ROUTERS: tuple[APIRouter, ...] = (
    actions.runs,  # first, since routes are tried in this order
    service.router,
    logins.router,
    approvals.router,
    audit.router,
    task_list.router,  # before tasks: /tasks/export.csv is not a task's id
    tasks.router,
    task_events.router,
    batches.router,
    batch_results.router,
    batch_launch.router,
    files.router,
    folders.router,
    api_keys.router,
)
DESCRIPTION = "Run any command of a Linux cluster over HTTP, with JSON in and out."


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application. Raises SetupError, which names the wrong setting or operator."""
    settings = settings or load_settings()
    set_up_logging(settings)
    services = make_services(settings)
    app = FastAPI(
        title="resop",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan,
        redirect_slashes=False,
        openapi_url=None,  # see api_docs
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    app.add_middleware(HeadRequests)
    app.add_middleware(BodyTimeout, seconds=settings.BODY_SECONDS)
    app.add_middleware(EndWithLogin, requests=services.access.requests)
    app.add_middleware(RequestLog)  # outside of it: it makes the context
    app.add_middleware(AuditTrail, recorder=services.audit)  # outside of it: it needs the context
    if settings.TRUSTED_PROXIES:
        app.add_middleware(
            AddressLimit,
            limit=settings.CONNECTIONS_PER_ADDRESS,
            trusted_proxies=settings.TRUSTED_PROXIES,
        )
    if settings.allowed_hosts:
        app.add_middleware(AllowedHosts, names=settings.allowed_hosts)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, **cors(settings))
    app.add_middleware(TakeTurns, trusted_proxies=settings.TRUSTED_PROXIES)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(
        RootPath, root_path=settings.ROOT_PATH, first_names=_first_names(settings, services)
    )
    app.add_middleware(ProxyHeaders, trusted_proxies=settings.TRUSTED_PROXIES)
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    api_docs.install(app, public=settings.API_DOCS)
    if settings.API_DOCS:
        app.include_router(pages.reference)
    app.include_router(actions.router)  # last of the API: its paths begin with an operator's name
    app.include_router(pages.router)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi_document(app, services.catalog)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    return app


def _first_names(settings: Settings, services: Services) -> frozenset[str]:
    """Return what the paths of this service begin with. Raises InvalidSettings if ROOT_PATH does.

    Of such a request nobody could tell whether the proxy removed the root path.
    """
    paths = [route.path for router in ROUTERS for route in router.routes]  # type: ignore[attr-defined]
    names = {path.split("/")[1] for path in paths} | {"docs", "redoc", "openapi.json", "pages"}
    names |= set(services.catalog.operators)
    if settings.ROOT_PATH and (name := settings.ROOT_PATH.split("/")[1]) in names:
        raise InvalidSettings(f"ROOT_PATH: paths of this service begin with /{name} as well")
    return frozenset(names)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    await services.start()
    # Objects made at start-up live as long as the process: exclude them from collections.
    gc.freeze()
    try:
        yield
    finally:
        await services.stop()


def main() -> None:
    """Serve until the process is stopped."""
    harden_process()
    raise_open_files_limit()
    settings = load_settings()
    prepare_data_folder(settings.DATA_DIR)
    log_uncaught_faults()
    settings.cluster(None)  # fails unless at least one cluster is configured
    https: dict[str, Any] = {}
    if settings.ENABLE_HTTPS:
        https = {
            "ssl_keyfile": settings.SSL_PRIVATE_KEY,
            "ssl_certfile": settings.SSL_CERTIFICATE,
        }
    app = create_app(settings)
    log_weaknesses(settings)
    limits = HttpLimits.of(settings)
    if limits.connections < settings.CONNECTIONS:
        log.warning("the limit of open files allows only %d connections", limits.connections)
    config = uvicorn.Config(
        app,
        host=settings.HOST,
        port=settings.PORT,
        loop=LOOP,
        ws="none",
        timeout_keep_alive=math.ceil(settings.KEEP_ALIVE_SECONDS),
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # the middleware ProxyHeaders reads them
        **https,
    )
    services: Services = app.state.services
    policy_warnings.log_warnings(settings.policy(), services.catalog, settings.clusters())
    author_warnings.log_warnings(services.catalog, settings.operator_folders)
    for notice in services.catalog.notices:
        log.info("operators: %s", notice)
    register = ConnectionRegister(limits, settings.TRUSTED_PROXIES)
    server = ApiServer(config, register, services.messaging.watches.close)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    try:
        main()
    except (SetupError, ServiceError) as fault:
        sys.exit(fault.lines("resop api"))
