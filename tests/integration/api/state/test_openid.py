"""The keys of an OpenID Connect issuer, read from a real HTTPS server, and what can go wrong."""

import asyncio
import itertools
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, KeySet, OctKey, OKPKey, RSAKey

from api.state import openid_http, refreshed
from api.state.openid import OpenID
from resop.config.settings import Settings
from resop.errors import ClusterError, LoginRefused
from tests.support.issuer import FakeIssuer
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
        started.page = page_of(signer)
        yield started


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshed, "PAUSE_SECONDS", -1.0)


def page_of(*keys: Key) -> tuple[int, list[bytes]]:
    return 200, [json.dumps({"keys": [each.as_dict(private=False) for each in keys]}).encode()]


def trusting(address: str, **settings: Any) -> OpenID:
    return OpenID(
        Settings(OIDC_ISSUER=ISSUER, OIDC_AUDIENCE="resop", OIDC_KEYS=address, **settings)
    )


def token(signer: Key, alg: str = "RS256", **header: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "resop", "iat": now, "exp": now + 300}
    claims["preferred_username"] = "alice"
    return jwt.encode({"alg": alg, "kid": "one", **header}, claims, signer, algorithms=[alg])


async def user_of(issuer: OpenID, text: str) -> str:
    return (await issuer.verify(text)).user.username


async def refused(issuer: OpenID, signer: RSAKey) -> str:
    with pytest.raises(ClusterError, match="the issuer's keys cannot be read: ") as caught:
        await user_of(issuer, token(signer))
    return caught.value.message


def drops() -> Iterator[bytes]:
    while True:
        time.sleep(0.05)
        yield b" "


async def test_keys_are_read_by_https_and_then_believed_for_a_while(
    site: WebhookReceiver, signer: RSAKey
) -> None:
    issuer = trusting(site.address)
    assert await user_of(issuer, token(signer)) == "alice"
    site.stop()
    assert await user_of(issuer, token(signer)) == "alice"
    with pytest.raises(LoginRefused):
        await user_of(issuer, token(RSAKey.generate_key(2048, {"kid": "one"})))


async def test_issuer_that_cannot_be_reached_is_asked_again_after_a_pause(
    site: WebhookReceiver, signer: RSAKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = trusting(site.address)
    site.stop()
    assert "connect" in (await refused(issuer, signer)).lower()
    site.start()
    monkeypatch.setattr(refreshed, "PAUSE_SECONDS", 60.0)
    assert "connect" in (await refused(issuer, signer)).lower()
    monkeypatch.setattr(refreshed, "PAUSE_SECONDS", -1.0)
    assert await user_of(issuer, token(signer)) == "alice"


async def test_certificate_of_an_unknown_authority_or_for_another_name_is_refused(
    site: WebhookReceiver, signer: RSAKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = trusting(site.address.replace("localhost", "127.0.0.1"))
    assert "CERTIFICATE_VERIFY_FAILED" in await refused(elsewhere, signer)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "CERTIFICATE_VERIFY_FAILED" in await refused(trusting(site.address), signer)


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
async def test_what_is_no_set_of_keys_is_told(
    site: WebhookReceiver, signer: RSAKey, status: int, content: bytes, why: str
) -> None:
    site.page = status, [content]
    assert why in await refused(trusting(site.address), signer)


async def test_answer_that_does_not_end_is_given_up(
    site: WebhookReceiver, signer: RSAKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.page = 200, itertools.repeat(b" " * 65_536)
    assert "more than 1048576 bytes" in await refused(trusting(site.address), signer)
    monkeypatch.setattr(openid_http, "FETCH_SECONDS", 1.0)
    site.page = 200, drops()
    assert "no answer within 1 s" in await refused(trusting(site.address), signer)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # of the test's own keys
@pytest.mark.parametrize("bits", [1024, 2040])
async def test_short_rsa_keys_are_ignored(site: WebhookReceiver, bits: int) -> None:
    short = RSAKey.generate_key(bits, {"kid": "one", "use": "sig"})
    site.page = page_of(short)
    assert "No keys" in await refused(trusting(site.address), short)


async def test_symmetric_keys_and_keys_for_encryption_are_ignored(
    site: WebhookReceiver, signer: RSAKey
) -> None:
    shared = OctKey.generate_key(256, {"kid": "one"})
    hidden = RSAKey.generate_key(2048, {"kid": "one", "use": "enc"})
    site.page = (
        200,
        [json.dumps({"keys": [shared.as_dict(), *KeySet([hidden]).as_dict()["keys"]]}).encode()],
    )
    assert "No keys" in await refused(trusting(site.address), signer)
    with pytest.raises(LoginRefused, match="alg"):
        await user_of(trusting(site.address), token(shared, "HS256"))


async def test_key_is_used_for_its_own_algorithm_only(site: WebhookReceiver) -> None:
    bound = RSAKey.generate_key(2048, {"kid": "one", "alg": "PS256"})
    site.page = page_of(bound)
    assert await user_of(trusting(site.address), token(bound, "PS256")) == "alice"
    plain = RSAKey.import_key({**bound.as_dict(private=True), "alg": "RS256"})
    with pytest.raises(LoginRefused, match="no such key"):
        await user_of(trusting(site.address), token(plain, "RS256"))


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (ECKey.generate_key("P-384", {"kid": "one"}), "ES256"),
        (OKPKey.generate_key("X25519", {"kid": "one"}), "Ed25519"),
        (OctKey.generate_key(256, {"kid": "one"}), "HS256"),
    ],
)
async def test_key_of_another_curve_or_kind_verifies_nothing(
    site: WebhookReceiver, signer: RSAKey, key: Key, alg: str
) -> None:
    site.page = page_of(signer, key)
    header = urlsafe_b64encode(json.dumps({"alg": alg, "kid": "one"}).encode()).rstrip(b"=")
    _, claims, signature = token(signer).split(".")
    with pytest.raises(LoginRefused):
        await user_of(trusting(site.address), f"{header.decode()}.{claims}.{signature}")


async def test_token_with_half_a_character_is_read(site: WebhookReceiver, signer: RSAKey) -> None:
    now = int(time.time())
    said = {"iss": ISSUER, "aud": "resop", "iat": now, "exp": now + 9, "jti": "\ud800"}
    content = json.dumps({**said, "preferred_username": "alice"}).encode()
    text = jws.serialize_compact({"alg": "RS256"}, content, signer)
    assert (await trusting(site.address).verify(text)).fingerprint


async def test_new_key_is_found_and_an_unknown_one_is_not_asked_for_each_time(
    site: WebhookReceiver, signer: RSAKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = trusting(site.address)
    assert await user_of(issuer, token(signer)) == "alice"
    new = ECKey.generate_key("P-256", {"kid": "two", "use": "sig"})
    site.page = page_of(signer, new)
    assert await user_of(issuer, token(new, "ES256", kid="two")) == "alice"
    monkeypatch.setattr(refreshed, "PAUSE_SECONDS", 60.0)
    site.stop()
    for _ in range(3):
        with pytest.raises(LoginRefused, match="no such key"):
            await user_of(issuer, token(new, "ES256", kid="three"))


@pytest.mark.parametrize(
    "text", ["", "x.y.z", "..", "e30.e30.e30", "a" * 20_000, "é.é.é", "e30.W10.e30"]
)
async def test_what_is_no_token_is_refused_before_the_keys_are_asked_for(
    site: WebhookReceiver, text: str
) -> None:
    site.stop()
    with pytest.raises(LoginRefused):
        await user_of(trusting(site.address), text)


async def test_embedded_key_and_key_address_are_not_believed(
    site: WebhookReceiver, signer: RSAKey
) -> None:
    own = RSAKey.generate_key(2048, {"kid": "one"})
    for header in ({"jwk": own.as_dict(private=False)}, {"jku": "https://evil.example/keys"}):
        with pytest.raises(LoginRefused):
            await user_of(trusting(site.address), token(own, **header))


async def test_addresses_are_discovered_and_must_be_those_of_the_issuer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeIssuer(tmp_path) as issuer:
        monkeypatch.setenv("SSL_CERT_FILE", str(issuer.authority))
        found = OpenID(Settings(OIDC_ISSUER=issuer.address, OIDC_AUDIENCE="resop"))
        assert await user_of(found, issuer.token()) == "alice"
        assert issuer.asked == ["/realms/hpc/.well-known/openid-configuration", "/realms/hpc/keys"]
        # The same document at another address is that of another issuer.
        other = Settings(OIDC_ISSUER=issuer.address + "/", OIDC_AUDIENCE="resop")
        with pytest.raises(ClusterError, match="does not describe OIDC_ISSUER"):
            await OpenID(other).metadata()


async def test_hanging_issuer_is_asked_once_and_holds_up_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refreshed, "PAUSE_SECONDS", 60.0)
    monkeypatch.setattr(openid_http, "FETCH_SECONDS", 2.0)
    with FakeIssuer(tmp_path) as issuer:
        monkeypatch.setenv("SSL_CERT_FILE", str(issuer.authority))
        found = OpenID(Settings(OIDC_ISSUER=issuer.address, OIDC_AUDIENCE="resop"))
        issuer.silent.set()
        waiting = [asyncio.create_task(user_of(found, issuer.token())) for _ in range(80)]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, ClusterError) for each in answers)
        assert len(issuer.asked) == 1
        with pytest.raises(ClusterError, match="no answer within"):
            await user_of(found, issuer.token())
        assert len(issuer.asked) == 1
