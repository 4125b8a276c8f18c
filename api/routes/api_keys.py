"""API keys: tokens for programs, made, listed and deleted by a person who has logged in."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from ipaddress import ip_network
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from api.auth.api_keys import create_api_key, delete_api_key
from api.auth.dependencies import CurrentPerson, ServicesDep
from api.http.body import read_options
from api.http.openapi_schemas import SCHEMA_REFERENCE
from api.state import rate_limit
from api.state.services import Services
from api.tasks.off_loop import off_loop
from api.tasks.run_action import permit
from resop.access.permissions import CREATE_API_KEY, scoped_actions
from resop.actions.options import check_options
from resop.errors import InvalidOptions
from resop.security.scope import Scope
from resop.storage.models import ApiKey
from resop.types import ErrorMessage

router = APIRouter(prefix="/api-keys", tags=["api-keys"])

MAX_GLOBS = 50
MAX_NETWORKS = 50

Glob = Annotated[
    str,
    # Few '*', because their number decides what a comparison costs.
    Field(pattern=r"^[A-Za-z0-9_.:?-]*(\*[A-Za-z0-9_.:?-]*){0,4}$", min_length=1, max_length=129),
    ErrorMessage(
        "must be an action such as slurm:squeue, in which '*' stands for any text, up to four times"
    ),
]


def _check_network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as fault:
        raise ValueError(f"must be an address or a network such as 192.0.2.0/24: {fault}") from None


Network = Annotated[str, Field(max_length=64), AfterValidator(_check_network)]


class ScopeOptions(BaseModel):
    """The scope of a new API key; everything by default."""

    model_config = ConfigDict(extra="forbid")

    read_only: Annotated[
        bool,
        Field(
            description="Only actions that declare that they only read, and `files:read`; no "
            "task may be cancelled or labelled."
        ),
    ] = False
    actions: Annotated[
        list[Glob],
        Field(
            min_length=1,
            max_length=MAX_GLOBS,
            description="Actions as in a policy: `slurm:squeue`, `slurm:*`, `files:read`.",
        ),
    ] = ["*"]
    addresses: Annotated[
        list[Network],
        Field(
            max_length=MAX_NETWORKS,
            description="Addresses or networks (CIDR) that requests may come from; any by default.",
        ),
    ] = []


class ApiKeyOptions(BaseModel):
    """A new API key: its name, its scope and its end."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[
        str,
        Field(pattern=r"^\S(.{0,62}\S)?$", description="A name by which you recognize the key."),
        ErrorMessage("must have 1 to 64 characters in one line"),
    ]
    scope: ScopeOptions = ScopeOptions()
    expires_at: Annotated[
        AwareDatetime | None,
        Field(description="When the key ends; by default in 30 days, or sooner if the site says."),
    ] = None


class ApiKeySummary(BaseModel):
    """An API key, without its secret."""

    id: str
    name: str
    cluster: str
    scope: ScopeOptions
    created_at: datetime
    expires_at: datetime
    last_used_at: Annotated[
        datetime | None, Field(description="to about ten minutes; null if it was never used")
    ]


class CreatedApiKey(ApiKeySummary):
    """A new API key."""

    key: Annotated[str, Field(description="the key itself; it is not shown again")]


class ApiKeyList(BaseModel):
    """The caller's API keys."""

    api_keys: list[ApiKeySummary]


class DeletedApiKey(BaseModel):
    """The end of an API key."""

    id: str
    key_removed: Annotated[
        bool, Field(description="false if something of the key is left on the cluster")
    ]
    reason: str | None = None


_SCHEMA = ApiKeyOptions.model_json_schema(ref_template=SCHEMA_REFERENCE)
_SCHEMA.pop("$defs")  # the answers refer to it as well, so that the document has it
_BODY = {"application/json": {"schema": _SCHEMA}}


@router.post(
    "",
    status_code=201,
    response_model=CreatedApiKey,
    response_description="The key was made.",
    openapi_extra={"requestBody": {"required": True, "content": _BODY}},
)
async def create(services: ServicesDep, caller: CurrentPerson, request: Request) -> JSONResponse:
    """Make an API key for programs: it is shown in this answer only.

    It can be sent as `Authorization: Bearer` or `X-API-Key`, and acts as you on this cluster
    within its scope. It cannot make other API keys or end logins.
    """
    decision = await permit(services, caller, CREATE_API_KEY)
    sent = await read_options(request, ApiKeyOptions)
    options = await off_loop(partial(check_options, ApiKeyOptions, sent), sent)
    assert isinstance(options, ApiKeyOptions)
    caller.context.options = options.model_dump(mode="json")
    scope = _checked_scope(services, options.scope)
    await rate_limit.count(
        services.messaging.redis, services.access.encryptor, decision, caller.token
    )
    made = await create_api_key(services, caller.token, options.name, scope, options.expires_at)
    created = CreatedApiKey(**_summary(made.key), key=made.text)
    headers = {"Location": f"/api-keys/{made.key.id}"}
    return JSONResponse(created.model_dump(mode="json"), 201, headers)


@router.get("")
async def list_api_keys(services: ServicesDep, caller: CurrentPerson) -> ApiKeyList:
    """List your API keys on this cluster, oldest first."""
    token = caller.token
    found = await run_in_threadpool(services.storage.api_keys.live, token.username, token.cluster)
    return ApiKeyList(api_keys=[ApiKeySummary(**_summary(key)) for key in found])


@router.delete("/{key_id}")
async def delete(key_id: str, services: ServicesDep, caller: CurrentPerson) -> DeletedApiKey:
    """End an API key: it is refused at once everywhere, then removed from the cluster."""
    caller.context.action = "auth:delete_api_key"
    reason = await delete_api_key(services, caller.token, key_id)
    return DeletedApiKey(id=key_id, key_removed=reason is None, reason=reason)


def _checked_scope(services: Services, options: ScopeOptions) -> Scope:
    """Return the scope. Raises InvalidOptions for a glob that matches nothing: a misspelling."""
    scope = Scope(options.read_only, tuple(options.actions), tuple(options.addresses))
    actions = scoped_actions(services.catalog)
    faults = [
        {"field": f"scope.actions.{number}", "message": f"{glob!r} matches nothing here"}
        for number, glob in enumerate(scope.actions)
        if not any(Scope(actions=(glob,)).covers(action) for action in actions)
    ]
    if faults:
        raise InvalidOptions(faults)
    return scope


def _summary(key: ApiKey) -> dict[str, Any]:
    names = ("id", "name", "cluster", "scope", "created_at", "expires_at", "last_used_at")
    return {name: getattr(key, name) for name in names}
