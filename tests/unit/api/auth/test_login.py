"""Logins that fail at the very end, when they cannot be recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from api.auth import login
from api.auth.login import ApiLoginGateway
from resop.errors import ClusterUnreachable, RecordsUnavailable, ResopError, UserBlocked
from resop.security.tokens import Token
from resop.storage.models import Credential


class Kind:
    """A kind of credential that notes what was revoked, and may fail to."""

    revoked: list[str]
    fault: ResopError | None

    def __init__(self, services: object) -> None:
        pass

    async def revoke(self, token: Token, credential: Credential, revoked: str) -> None:
        Kind.revoked.append(revoked)
        if Kind.fault is not None:
            raise Kind.fault


async def test_what_a_login_left_on_the_cluster_is_removed_if_it_cannot_be_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(login, "CREDENTIAL_KINDS", {"key": Kind})
    for fault in (RecordsUnavailable(), UserBlocked("on holiday"), ValueError("a mistake")):
        for Kind.fault in (None, ClusterUnreachable()):
            Kind.revoked = []

            def add(credential: Credential, fault: BaseException = fault) -> None:
                raise fault

            services: Any = SimpleNamespace(
                storage=SimpleNamespace(credentials=SimpleNamespace(add=add))
            )
            gateway = ApiLoginGateway(services, *[None] * 3)  # type: ignore[arg-type]
            end = datetime.now(UTC) + timedelta(hours=1)
            credential = Credential(
                id="1", username="ada", cluster="hpc", kind="key", expires_at=end
            )
            token = Token("ada", "hpc", "1", "share", int(end.timestamp()))
            with pytest.raises(type(fault)):
                await gateway._add(token, credential)
            assert Kind.revoked == ["1"]
