"""The code that a person enters at an issuer's login page (RFC 8628)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A code that a person is shown, and what the issuer is asked with meanwhile."""

    user_code: str
    address: str
    """Where the code is entered."""
    address_with_code: str
    """An address that has the code in it; empty if the issuer offers none."""
    seconds: float
    """How long the code is valid."""
    interval: float
    """How many seconds pass between two questions at least."""
    secret: str
    """Not for the person: by it the issuer knows who asks for the token."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> DeviceCode:
        """Return the code in an issuer's answer. Raises KeyError, TypeError or ValueError."""
        return cls(
            str(answer["user_code"]),
            str(answer["verification_uri"]),
            str(answer.get("verification_uri_complete") or ""),
            float(answer.get("expires_in", 600)),
            float(answer.get("interval", 5)),
            str(answer["device_code"]),
        )
