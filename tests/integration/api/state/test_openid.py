"""The keys of an OpenID Connect issuer, read from a real HTTPS server, and what can go wrong."""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from api.state import openid
from api.state.openid import OpenID
from resop.config.settings import Settings
from resop.errors import ClusterError, LoginRefused
from tests.support.webhook_receiver import WebhookReceiver

ISSUER = "https://id.hpc.example"


@pytest.fixture(scope="module")
def signer() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})


@pytest.fixture
def site(
    tmp_path: Path, signer: RSAKey, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WebhookReceiver]:
    """Serve the issuer's keys."""
    with WebhookReceiver(tmp_path) as started:
        monkeypatch.setenv("SSL_CERT_FILE", str(started.authority))
        started.page = 200, [json.dumps({"keys": [signer.as_dict(private=False)]}).encode()]
        yield started


def trusting(address: str) -> OpenID:
    return OpenID(Settings(OIDC_ISSUER=ISSUER, OIDC_AUDIENCE="resop", OIDC_KEYS=address))


def token(signer: RSAKey) -> str:
    claims = {"iss": ISSUER, "aud": "resop", "exp": int(time.time()) + 300}
    claims["preferred_username"] = "alice"
    return jwt.encode({"alg": "RS256", "kid": "one"}, claims, signer)


def refused(issuer: OpenID, signer: RSAKey) -> str:
    with pytest.raises(ClusterError, match="the issuer's keys cannot be read: ") as caught:
        issuer.user_of(token(signer))
    return caught.value.message


def drops() -> Iterator[bytes]:
    while True:
        time.sleep(0.05)
        yield b" "


def test_keys_are_read_by_https_and_then_believed_for_a_while(
    site: WebhookReceiver, signer: RSAKey
) -> None:
    issuer = trusting(site.address)
    assert issuer.user_of(token(signer)) == "alice"
    site.stop()
    assert issuer.user_of(token(signer)) == "alice"
    with pytest.raises(LoginRefused):
        issuer.user_of(token(RSAKey.generate_key(2048, {"kid": "one"})))


def test_issuer_that_cannot_be_reached_is_asked_again_at_the_next_login(
    site: WebhookReceiver, signer: RSAKey
) -> None:
    issuer = trusting(site.address)
    site.stop()
    assert "connect" in refused(issuer, signer).lower()
    site.start()
    assert issuer.user_of(token(signer)) == "alice"


def test_certificate_of_an_unknown_authority_or_for_another_name_is_refused(
    site: WebhookReceiver, signer: RSAKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = trusting(site.address.replace("localhost", "127.0.0.1"))
    assert "CERTIFICATE_VERIFY_FAILED" in refused(elsewhere, signer)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "CERTIFICATE_VERIFY_FAILED" in refused(trusting(site.address), signer)


@pytest.mark.parametrize(
    ("status", "content", "why"),
    [
        (200, b"<html>", "not a JSON Web Key Set"),
        (200, b"\xff\xfe", "not a JSON Web Key Set"),
        (200, b"[]", "not a JSON Web Key Set"),
        (200, b'{"keys": 5}', "not a JSON Web Key Set"),
        (200, b'{"keys": [5]}', "No keys"),
        (200, b'{"keys": [{"kty": "RSA", "n": 5}]}', ""),
        (200, b"[" * 200_000, "not a JSON Web Key Set"),
        (404, b"{}", "404"),
        (503, b"{}", "503"),
        (302, b"", "302"),  # it is not followed: the next one might be http
    ],
)
def test_what_is_no_set_of_keys_is_told(
    site: WebhookReceiver, signer: RSAKey, status: int, content: bytes, why: str
) -> None:
    site.page = status, [content]
    assert why in refused(trusting(site.address), signer)


def test_answer_that_does_not_end_is_given_up(
    site: WebhookReceiver, signer: RSAKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.page = 200, itertools.repeat(b" " * 65_536)
    assert "more than 1048576 bytes" in refused(trusting(site.address), signer)
    monkeypatch.setattr(openid, "FETCH_SECONDS", 1.0)
    site.page = 200, drops()
    assert "no answer within 1 s" in refused(trusting(site.address), signer)
