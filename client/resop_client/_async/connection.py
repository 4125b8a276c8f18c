"""Send requests to the service: repeated where that is safe, with a token that is renewed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from resop_client.clock import asleep, growing_pauses
from resop_client.errors import AccessError, NotLoggedIn, ResopError
from resop_client.login_store import Login, LoginStore
from resop_client.transport import (
    SAFE_METHODS,
    Query,
    RetryPolicy,
    answer_error,
    answer_json,
    connection_error,
    json_body,
)
from resop_client.version import __version__

USER_AGENT = f"resop-client/{__version__}"
READ_SECONDS = 60.0
"""How long the service may be silent, beyond the time that it is asked to wait."""


class AsyncConnection:
    """The service at one address, and the login that is used there."""

    def __init__(
        self,
        login: Login,
        *,
        store: LoginStore | None = None,
        profile: str = "",
        retry_seconds: float = 60.0,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        """`store` and `profile` are where a renewed token is kept."""
        self.login = login
        self._store = store
        self._profile = profile
        self._retry_seconds = retry_seconds
        self._reached = False
        self._http = http or httpx2.AsyncClient(
            timeout=httpx2.Timeout(READ_SECONDS, connect=10.0), follow_redirects=False
        )
        self._http.headers["User-Agent"] = USER_AGENT

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get(self, path: str, *, params: Query = None, wait: float = 0) -> Any:
        """Return the JSON at a path; `wait` is how many seconds the service is asked to wait."""
        query = {**(params or {}), **({"wait": f"{wait:g}"} if wait else {})}
        return answer_json(await self.request("GET", path, params=query, wait=wait))

    async def post(
        self,
        path: str,
        body: Any,
        *,
        params: Query = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        wait: float = 0,
    ) -> Any:
        """Post JSON and return the JSON of the answer.

        `repeatable`: the service does it once, however often it is sent (`Idempotency-Key`).
        """
        response = await self.request(
            "POST",
            path,
            params=params,
            headers={**(headers or {}), "Content-Type": "application/json"},
            content=json_body(body),
            repeatable=repeatable,
            wait=wait,
        )
        return answer_json(response)

    async def patch(self, path: str, body: Any) -> Any:
        """Change what is at a path, and return the JSON of the answer."""
        headers = {"Content-Type": "application/json"}
        response = await self.request(
            "PATCH", path, headers=headers, content=json_body(body), repeatable=True
        )
        return answer_json(response)

    async def delete(self, path: str, *, params: Query = None, wait: float = 0) -> Any:
        """Delete what is at a path, and return the JSON of the answer; to repeat it is safe."""
        query = {**(params or {}), **({"wait": f"{wait:g}"} if wait else {})}
        response = await self.request("DELETE", path, params=query, repeatable=True, wait=wait)
        return answer_json(response)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Query = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        repeatable: bool = False,
        wait: float = 0,
    ) -> httpx2.Response:
        """Return the answer to a request, whatever its status. Raises ConnectionFailed."""
        await self._renew_in_time()
        policy = RetryPolicy(
            self._retry_seconds,
            repeatable=repeatable or method in SAFE_METHODS,
            reached_before=self._reached,
        )
        for pause in growing_pauses():
            request = self._http.build_request(
                method,
                self.login.url + path,
                params=params,
                headers={**self._authorization(), **(headers or {})},
                content=content,
                timeout=httpx2.Timeout(READ_SECONDS + wait, connect=10.0),
            )
            try:
                response = await self._http.send(request)
            except httpx2.TransportError as fault:
                if not policy.may_repeat_after(fault):
                    raise connection_error(fault, self.login.url) from None
                await asleep(pause)
                continue
            self._reached = True
            seconds = policy.pause_after(response, pause)
            if seconds is None:
                return response
            await asleep(seconds)
        raise AssertionError("there is always another pause")

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Query = None,
        headers: Mapping[str, str] | None = None,
        content: AsyncIterator[bytes] | None = None,
        silence: float = READ_SECONDS,
    ) -> AsyncIterator[httpx2.Response]:
        """Open one answer that is read piece by piece. Raises its error, or ConnectionFailed.

        It is not repeated; `silence` is how many seconds may pass without a byte.
        """
        await self._renew_in_time()
        try:
            async with self._http.stream(
                method,
                self.login.url + path,
                params=params,
                headers={**self._authorization(), **(headers or {})},
                content=content,
                timeout=httpx2.Timeout(silence, connect=10.0),
            ) as response:
                self._reached = True
                if response.status_code >= 400:
                    await response.aread()
                    raise answer_error(response)
                yield response
        except httpx2.TransportError as fault:
            raise connection_error(fault, self.login.url) from None

    def use(self, login: Login, *, keep: bool) -> None:
        """Use another login from now on; keep it for the next run if there is a store."""
        self.login = login
        if keep and self._store is not None:
            self._store.save(self._profile, login)

    def forget(self) -> None:
        """Use no token any more, nor in the next run."""
        self.login = Login(self.login.url, "")
        if self._store is not None:
            self._store.remove(self._profile)

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.login.token}"} if self.login.token else {}

    async def _renew_in_time(self) -> None:
        """Get a new token if the present one ends soon; without one, use it until its end."""
        if not self.login.ends_soon():
            return
        old = self.login
        self.login = Login(old.url, old.token)  # the request below must not come here again
        try:
            answer = await self.post("/auth/opn/renew", {})
        except AccessError:
            return
        except ResopError:
            self.login = old
            return
        self.use(login_of(old.url, answer["output"]), keep=True)

    def require_token(self) -> None:
        """Raise NotLoggedIn if there is no token: no request is needed to know."""
        if not self.login.token:
            raise NotLoggedIn(
                f"you are not logged in to {self.login.url}: call login(), or set RESOP_TOKEN"
            )


def login_of(url: str, output: Mapping[str, Any]) -> Login:
    """Return the login that an answer of the service describes."""
    return Login(
        url,
        output["token"],
        output["username"],
        output["cluster"],
        output["expires_at"],
        output.get("login_expires_at", ""),
    )
