"""End logins on behalf of their user, who may use one of them for this very request."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from api.auth.credentials import CREDENTIAL_KINDS
from api.state.services import Services
from resop.access.login_administration import LoginAdministration
from resop.errors import KeyRefused, ResopError
from resop.messaging.messages import LoggedOut
from resop.security.tokens import Token
from resop.storage.login_ends import EndedLogin
from resop.storage.models import Credential
from resop.storage.serializers import iso_time

EndLogins = Callable[[LoginAdministration], list[EndedLogin]]


async def end_logins(services: Services, end: EndLogins) -> list[EndedLogin]:
    """End logins; this request is answered even if its own is one of them."""
    services.access.requests.outlive_login()
    ended = await run_in_threadpool(end, services.access.administration)
    for each in ended:
        services.access.on_logout(LoggedOut(each.id))  # here at once, without Redis too
    return ended


def tasks_continue(token: Token, ended: list[EndedLogin]) -> bool:
    """Return True if tasks of the login of this request were kept running."""
    return any(each.id == token.credential and each.keeps_running for each in ended)


async def remove_key(
    services: Services, token: Token, credential: Credential | None, ended: list[EndedLogin]
) -> str | None:
    """Remove what the login of this request left on the cluster; return why something remains.

    `credential` is as it was before its end.
    """
    ends = credential.expires_at if credential else token.expires_at
    expires = f"the key expires at {iso_time(ends)}"
    if tasks_continue(token, ended):
        return f"tasks of this login continue; its key is erased when they have ended; {expires}"
    try:
        if credential is None:
            raise KeyRefused("the key had already been removed")
        await CREDENTIAL_KINDS[credential.kind](services).revoke(token, credential, credential.id)
    except ResopError as fault:
        return f"{fault.message}; {expires}"
    return None
