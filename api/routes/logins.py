"""Show the caller's own logins, and end them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import PersonToken, ServicesDep
from api.auth.login_ending import EndLogins, end_logins, remove_key
from api.state.services import Services
from resop.access.login_administration import LoginAdministration
from resop.errors import UnknownLogin
from resop.security.tokens import Token
from resop.storage.login_ends import EndedLogin
from resop.storage.models import Credential

router = APIRouter(prefix="/logins", tags=["logins"])

ENDED_BY_USER = "ended by its user"


class Login(BaseModel):
    """One live login."""

    id: str
    since: datetime
    expires_at: datetime
    kind: Annotated[str, Field(description="Kind of credential: key, certificate, held, …")]
    address: Annotated[str, Field(description="The client's address at login.")]
    user_agent: Annotated[str, Field(description="The client's `User-Agent` at login.")]
    last_used: Annotated[
        datetime | None, Field(description="The minute of a recent request; null before the first.")
    ]
    current: Annotated[bool, Field(description="True for the login of this request.")]

    @classmethod
    def of(cls, credential: Credential, current: str) -> Login:
        """Return the login of a credential."""
        return cls(
            id=credential.id,
            since=credential.created_at,
            expires_at=credential.expires_at,
            kind=credential.kind,
            address=credential.address,
            user_agent=credential.user_agent,
            last_used=credential.last_used_at,
            current=credential.id == current,
        )


class LoginList(BaseModel):
    """The caller's live logins."""

    logins: list[Login]


class LogoutResult(BaseModel):
    """The logins that a request has ended."""

    success: bool = True
    ended: Annotated[list[str], Field(description="The ids of the logins that were ended.")]


KeepRunning = Annotated[
    bool, Query(description="Let the tasks of the ended logins continue, queued ones included.")
]


@router.get("")
def list_logins(services: ServicesDep, token: PersonToken) -> LoginList:
    """List the caller's live logins on this cluster, oldest first."""
    found = services.storage.credentials.live_of(token.identity)
    return LoginList(logins=[Login.of(each, token.credential) for each in found])


@router.delete("")
async def end_all_logins(
    services: ServicesDep,
    token: PersonToken,
    except_current: Annotated[bool, Query(description="Keep the login of this request.")] = False,
    keep_running: KeepRunning = False,
) -> LogoutResult:
    """Log out everywhere: end all of the caller's logins on this cluster.

    What runs on them ends within seconds: tasks, batches, transfers, event streams.
    """

    def end(administration: LoginAdministration) -> list[EndedLogin]:
        return administration.end_all(
            token.username,
            token.cluster,
            ENDED_BY_USER,
            but=token.credential if except_current else None,
            keep_running=keep_running,
        )

    return await _end(services, token, end)


@router.delete("/{login_id}")
async def end_login(
    login_id: Annotated[str, Path(max_length=36)],
    services: ServicesDep,
    token: PersonToken,
    keep_running: KeepRunning = False,
) -> LogoutResult:
    """End one of the caller's logins, with everything that runs on it."""
    found = await run_in_threadpool(services.storage.credentials.get, login_id)
    if found is None or (found.username, found.cluster) != (token.username, token.cluster):
        raise UnknownLogin(f"there is no login {login_id!r}")

    def end(administration: LoginAdministration) -> list[EndedLogin]:
        return administration.end([login_id], ENDED_BY_USER, keep_running=keep_running)

    return await _end(services, token, end)


async def _end(services: Services, token: Token, end: EndLogins) -> LogoutResult:
    """End logins, and remove the key of this request's login if it is one of them."""
    own = await run_in_threadpool(services.storage.credentials.get, token.credential)
    ended = await end_logins(services, end)
    ids = [each.id for each in ended]
    if token.credential in ids:
        await remove_key(services, token, own, ended)
    return LogoutResult(ended=ids)
