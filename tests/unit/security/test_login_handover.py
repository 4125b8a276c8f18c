"""The way of a password from the API to a worker opens for these two ends only."""

import pytest

from resop.errors import ServiceFault
from resop.security.login_handover import TO_API, TO_WORKER, LoginKeyExchange, fields
from resop.security.sealing import Encryptor

SEALER = Encryptor(b"k" * 20 + b"0123456789abcdef")
LOGIN = {"password": "marker", "otp": None}


def joined(
    one: LoginKeyExchange, other: LoginKeyExchange
) -> tuple[LoginKeyExchange, LoginKeyExchange]:
    assert one.derive(other.key) and other.derive(one.key)
    return one, other


def test_what_one_end_seals_the_other_opens() -> None:
    api, worker = joined(LoginKeyExchange(SEALER, "a"), LoginKeyExchange(SEALER, "a"))
    sealed = api.encrypt(LOGIN, TO_WORKER)
    assert b"marker" not in bytes.fromhex(sealed)
    assert worker.decrypt(sealed, TO_WORKER) == LOGIN
    with pytest.raises(ServiceFault):
        api.decrypt(sealed, TO_API)


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param(
            LoginKeyExchange(Encryptor(b"another service's key 0123456789"), "a"), id="another key"
        ),
        pytest.param(LoginKeyExchange(SEALER, "b"), id="another login"),
    ],
)
def test_nobody_else_opens_it(stranger: LoginKeyExchange) -> None:
    api, end = joined(LoginKeyExchange(SEALER, "a"), stranger)
    with pytest.raises(ServiceFault):
        end.decrypt(api.encrypt(LOGIN, TO_WORKER), TO_WORKER)


def test_who_joins_later_with_the_same_secret_key_opens_nothing() -> None:
    api, worker = joined(LoginKeyExchange(SEALER, "a"), LoginKeyExchange(SEALER, "a"))
    sealed = api.encrypt(LOGIN, TO_WORKER)
    late = LoginKeyExchange(SEALER, "a")
    late.derive(worker.key)
    with pytest.raises(ServiceFault):
        late.decrypt(sealed, TO_WORKER)


@pytest.mark.parametrize("word", [None, "", "no json", "[]", "7", '{"id": null}', '{"id": {}}'])
def test_what_is_no_word_of_ours_does_no_harm(word: str | None) -> None:
    login, key = fields(word, "id", "key")
    assert key == ""
    assert not LoginKeyExchange(SEALER, login).derive(key)
