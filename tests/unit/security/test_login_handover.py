"""A login that goes from the API to a worker is decrypted by these two ends only."""

import pytest

from resop.errors import ServiceFault
from resop.security.encryption import Encryptor
from resop.security.login_handover import TO_API, TO_WORKER, LoginKeyExchange

ENCRYPTOR = Encryptor(b"k" * 20 + b"0123456789abcdef")
LOGIN = {"password": "marker", "otp": None}


def exchanged(
    one: LoginKeyExchange, other: LoginKeyExchange
) -> tuple[LoginKeyExchange, LoginKeyExchange]:
    assert one.derive(other.public_key) and other.derive(one.public_key)
    return one, other


def test_what_one_end_encrypts_the_other_decrypts() -> None:
    api, worker = exchanged(LoginKeyExchange(ENCRYPTOR, "a"), LoginKeyExchange(ENCRYPTOR, "a"))
    encrypted = api.encrypt(LOGIN, TO_WORKER)
    assert b"marker" not in bytes.fromhex(encrypted)
    assert worker.decrypt(encrypted, TO_WORKER) == LOGIN
    with pytest.raises(ServiceFault):
        api.decrypt(encrypted, TO_API)


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param(
            LoginKeyExchange(Encryptor(b"another service's key 0123456789"), "a"), id="another key"
        ),
        pytest.param(LoginKeyExchange(ENCRYPTOR, "b"), id="another login"),
    ],
)
def test_nobody_else_decrypts_a_login(stranger: LoginKeyExchange) -> None:
    api, end = exchanged(LoginKeyExchange(ENCRYPTOR, "a"), stranger)
    with pytest.raises(ServiceFault):
        end.decrypt(api.encrypt(LOGIN, TO_WORKER), TO_WORKER)


def test_later_key_exchange_with_the_same_secret_key_decrypts_nothing() -> None:
    api, worker = exchanged(LoginKeyExchange(ENCRYPTOR, "a"), LoginKeyExchange(ENCRYPTOR, "a"))
    encrypted = api.encrypt(LOGIN, TO_WORKER)
    late = LoginKeyExchange(ENCRYPTOR, "a")
    late.derive(worker.public_key)
    with pytest.raises(ServiceFault):
        late.decrypt(encrypted, TO_WORKER)


@pytest.mark.parametrize("public_key", ["", "no hex", "ab", "00" * 32, "é", "ff" * 33])
def test_invalid_public_key_is_refused(public_key: str) -> None:
    assert not LoginKeyExchange(ENCRYPTOR, "a").derive(public_key)
