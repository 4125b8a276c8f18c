"""Tokens are renewed while their login lives, and not a second longer."""

import time
from datetime import datetime, timedelta

import pytest

from tests.acceptance.conftest import ACCOUNTS, only_distributed
from tests.acceptance.test_api_keys import expiry_of
from tests.acceptance.test_login import authorized_keys
from tests.support.openssh import OpenSSH
from tests.support.service import Distributed, Service, failure
from tests.support.services import eventually


@only_distributed
def test_token_is_renewed_until_its_login_ends(service: Service, ssh: OpenSSH) -> None:
    assert isinstance(service, Distributed)
    hours = {"TOKEN_HOURS": str(8 / 3600), "LOGIN_HOURS": str(20 / 3600)}
    with service.additional_api(**hours) as short:
        began = time.monotonic()
        first = service.log_in(ACCOUNTS["bob"], api=short)
        # The key on the cluster lasts as long as the login.
        expiry = expiry_of(authorized_keys(ssh, "bob").read_text())
        output = first.post("auth/opn/renew").json()["output"]
        ends = datetime.fromisoformat(output["login_expires_at"])
        assert abs(expiry - ends) < timedelta(seconds=5)
        assert datetime.fromisoformat(output["expires_at"]) < ends
        renewed = service.caller(output["token"], short)
        assert renewed.run("whoami").json()["output"]["stdout"] == "bob\n"
        assert first.http.get("/tasks").status_code == 200  # valid until its own end
        time.sleep(max(0.0, 5 - (time.monotonic() - began)))
        latest = service.caller(renewed.post("auth/opn/renew").json()["output"]["token"], short)
        assert eventually(lambda: first.http.get("/tasks").status_code == 401, 30)
        failure(first.post("auth/opn/renew"), 401)  # a token that has expired cannot be renewed
        while (answer := latest.post("auth/opn/renew")).status_code == 200:
            output = answer.json()["output"]
            assert datetime.fromisoformat(output["expires_at"]) <= ends
            latest = service.caller(output["token"], short)
            time.sleep(1)
        assert failure(answer, 401)["type"] == "TokenRefused"
        assert time.monotonic() - began > 15


@pytest.mark.parametrize("which", ["before", "after"])
def test_logout_ends_all_tokens_of_a_login(service: Service, which: str) -> None:
    before = service.log_in(ACCOUNTS["bob"])
    output = before.post("auth/opn/renew").json()["output"]
    assert set(output) == {"token", "username", "cluster", "expires_at"}
    after = service.caller(output["token"])
    ended, other = (before, after) if which == "before" else (after, before)
    assert ended.post("auth/opn/logout").json()["output"]["key_removed"] is True
    for caller in (ended, other):
        assert failure(caller.post("auth/opn/renew"), 401)["type"] == "TokenRefused"
    failure(service.caller().post("auth/opn/renew"), 401)
