"""Log in at the site's OpenID Connect issuer, from a terminal: the device flow (RFC 8628)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from resop_client.clock import asleep
from resop_client.device_code import DeviceCode
from resop_client.errors import LoginRefused, UnexpectedAnswer
from resop_client.transport import connection_error

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
DISCOVERY_PATH = "/.well-known/openid-configuration"
ANSWER_SECONDS = 30.0
SLOW_DOWN_SECONDS = 5.0
"""How much longer the interval becomes when the issuer asks for that."""


class AsyncDeviceFlow:
    """A login at an issuer: a person opens an address and enters a code there."""

    def __init__(self, issuer: str, client_id: str) -> None:
        """`client_id` is the id by which the issuer knows the service."""
        self._issuer = issuer
        self._client_id = client_id

    async def id_token(self, show: Callable[[DeviceCode], object]) -> str:
        """Return an ID token, as soon as the person has entered the code that `show` gets.

        Raises LoginRefused if they do not, ConnectionFailed, and UnexpectedAnswer if the issuer
        has no device flow.
        """
        async with httpx2.AsyncClient(timeout=ANSWER_SECONDS, follow_redirects=False) as http:
            known = await self._discover(http)
            code = await self._begin(http, known["device_authorization_endpoint"])
            show(code)
            return await self._poll(http, known["token_endpoint"], code)

    async def _discover(self, http: httpx2.AsyncClient) -> dict[str, str]:
        try:
            response = await http.get(self._issuer.rstrip("/") + DISCOVERY_PATH)
        except httpx2.TransportError as fault:
            raise connection_error(fault, self._issuer) from None
        known = _object(response)
        if known.get("issuer") != self._issuer:
            raise UnexpectedAnswer(f"{response.url} does not describe the issuer {self._issuer}")
        names = ("device_authorization_endpoint", "token_endpoint")
        for name in names:
            if not str(known.get(name, "")).startswith("https://"):
                raise UnexpectedAnswer(
                    f"{self._issuer} offers no login from a terminal: it has no {name}"
                )
        return {name: known[name] for name in names}

    async def _begin(self, http: httpx2.AsyncClient, address: str) -> DeviceCode:
        form = {"client_id": self._client_id, "scope": "openid"}
        try:
            response = await http.post(address, data=form)
        except httpx2.TransportError as fault:
            raise connection_error(fault, self._issuer) from None
        answer = _object(response)
        try:
            return DeviceCode.of(answer)
        except (KeyError, TypeError, ValueError):
            raise LoginRefused(
                f"{self._issuer} begins no login from a terminal: {_reason(answer)}"
            ) from None

    async def _poll(self, http: httpx2.AsyncClient, address: str, code: DeviceCode) -> str:
        """Ask for the token until the person has agreed, or the code has expired."""
        form = {
            "grant_type": GRANT_TYPE,
            "device_code": code.secret,
            "client_id": self._client_id,
        }
        interval, end = code.interval, time.monotonic() + code.seconds
        while time.monotonic() < end:
            await asleep(interval)
            try:
                answer = _object(await http.post(address, data=form))
            except httpx2.TransportError:
                interval += SLOW_DOWN_SECONDS  # as for an issuer that is overloaded
                continue
            if "id_token" in answer:
                return str(answer["id_token"])
            if answer.get("error") == "slow_down":
                interval += SLOW_DOWN_SECONDS
            elif answer.get("error") == "access_denied":
                raise LoginRefused(f"the login was refused at {self._issuer}")
            elif answer.get("error") == "expired_token":
                break
            elif answer.get("error") != "authorization_pending":
                raise LoginRefused(f"{self._issuer} gives no token: {_reason(answer)}")
        raise LoginRefused(f"the code {code.user_code} was not entered in time")


def _object(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise UnexpectedAnswer(
            f"{response.url} answered {response.status_code}, not as an issuer does"
        )
    return answer


def _reason(answer: Mapping[str, Any]) -> str:
    return str(answer.get("error_description") or answer.get("error") or "no reason is given")
