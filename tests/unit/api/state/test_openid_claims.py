"""Each claim of a token, wrong and right, and the users that it may name."""

from pathlib import Path
from typing import Any

import pytest

from api.state.openid_claims import ClaimRules, TokenUse
from resop.config.settings import Settings
from resop.errors import InvalidSettings, LoginRefused

NOW = 1_800_000_000.0
ISSUER = "https://id.hpc.example"
HEADER = {"alg": "RS256", "kid": "one"}
AT = {**HEADER, "typ": "at+jwt"}
ID, ACCESS = TokenUse.ID, TokenUse.ACCESS


def rules(**settings: Any) -> ClaimRules:
    settings |= {"CLUSTER_NAME": "main", "CLUSTER_ADDRESS": "login.hpc.example"}
    return ClaimRules(Settings(OIDC_ISSUER=ISSUER, OIDC_AUDIENCE="resop", **settings))


def claims(**others: Any) -> dict[str, Any]:
    said = {"iss": ISSUER, "aud": "resop", "iat": NOW - 10, "exp": NOW + 300}
    said |= {"preferred_username": "alice"} | others
    return {name: value for name, value in said.items() if value is not None}


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ({"iss": ISSUER + "/"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": None}, "aud"),
        ({"aud": "portal"}, "aud"),
        ({"aud": ["portal"]}, "aud"),
        ({"aud": {"resop": 1}}, "aud"),
        ({"aud": ["resop", "unknown"], "azp": "resop"}, "aud"),
        ({"aud": ["resop", 5], "azp": "resop"}, "aud"),
        ({"aud": ["resop", "portal"]}, "azp"),
        ({"azp": "unknown"}, "azp"),
        ({"azp": ["resop"]}, "azp"),
        ({"azp": 5}, "azp"),
        ({"exp": None}, "exp"),
        ({"exp": NOW - 1}, "expired"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": float("inf")}, "exp"),
        ({"exp": 10**4000}, "exp"),
        ({"exp": 10**15}, "exp"),
        ({"iat": -(10**4000)}, "iat"),
        ({"iat": None}, "iat"),
        ({"iat": NOW + 300}, "iat"),
        ({"iat": NOW - 5 * 365 * 86_400, "exp": NOW + 10 * 365 * 86_400}, "older than 3600 s"),
        ({"iat": NOW - 3601}, "older"),
        ({"iat": float("nan")}, "iat"),
        ({"nbf": NOW + 300}, "nbf"),
        ({"nbf": "x"}, "nbf"),
        ({"typ": "Bearer"}, "no ID token"),
        ({"typ": "Refresh"}, "no ID token"),
        ({"typ": "Logout"}, "no ID token"),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, "no ID token"),
    ],
)
def test_a_wrong_claim_is_named(said: dict[str, Any], part: str) -> None:
    with pytest.raises(LoginRefused, match=part):
        rules(OIDC_CLIENTS="portal").check(HEADER, claims(**said), ID, NOW)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"azp": "resop"},
        {"azp": "portal"},
        {"aud": ["resop"]},
        {"aud": ["resop", "portal"], "azp": "portal"},
        {"typ": "ID"},
        {"iat": NOW + 5},
        {"nbf": NOW - 5},
    ],
)
def test_a_right_token_is_accepted(said: dict[str, Any]) -> None:
    rules(OIDC_CLIENTS="portal").check(HEADER, claims(**said), ID, NOW)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ({"alg": "none"}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"alg": None}, "alg"),
        ({"alg": ["RS256"]}, "alg"),
        ({"alg": "RS256", "typ": "logout+jwt"}, "typ"),
        ({"alg": "RS256", "typ": "at+jwt"}, "typ"),
        ({"alg": "RS256", "typ": "application/at+jwt"}, "typ"),
        ({"alg": "RS256", "typ": "secevent+jwt"}, "typ"),
        ({"alg": "RS256", "typ": 5}, "typ"),
        ({"alg": "RS256", "crit": ["b64"], "b64": False}, "header"),
        ({"alg": "RS256", "kid": 5}, "header"),
    ],
)
def test_a_wrong_header_is_refused(header: dict[str, Any], part: str) -> None:
    with pytest.raises(LoginRefused, match=part):
        rules().check(header, claims(), ID, NOW)


def test_only_the_algorithms_of_the_setting_are_accepted() -> None:
    strict = rules(OIDC_ALGORITHMS="ES256, PS256")
    with pytest.raises(LoginRefused, match="alg"):
        strict.check(HEADER, claims(), ID, NOW)
    strict.check({"alg": "ES256"}, claims(), ID, NOW)
    with pytest.raises(ValueError, match="HS256 is none of"):
        rules(OIDC_ALGORITHMS="HS256")


@pytest.mark.parametrize(
    ("header", "said", "accepted"),
    [
        (AT, {"client_id": "resop"}, True),
        (AT, {"client_id": "portal"}, True),
        (AT, {"client_id": "unknown"}, False),
        (AT, {"aud": ["resop", "account"], "azp": "resop"}, True),
        (AT, {"aud": ["account"], "azp": "resop"}, False),
        (HEADER, {"typ": "Bearer", "azp": "resop"}, True),
        (HEADER, {"typ": "ID", "azp": "resop"}, False),
        (HEADER, {"azp": "resop"}, False),
        (HEADER, {"typ": "Refresh", "azp": "resop"}, False),
        (AT, {"events": {}}, False),
    ],
)
def test_access_tokens_are_told_from_others(
    header: dict[str, Any], said: dict[str, Any], accepted: bool
) -> None:
    trusting = rules(OIDC_CLIENTS="portal")
    if accepted:
        trusting.check(header, claims(**said), ACCESS, NOW)
    else:
        with pytest.raises(LoginRefused):
            trusting.check(header, claims(**said), ACCESS, NOW)


@pytest.mark.parametrize(
    ("settings", "said", "accepted"),
    [
        ({"OIDC_ACR": "gold silver"}, {"acr": "silver"}, True),
        ({"OIDC_ACR": "gold silver"}, {"acr": "bronze"}, False),
        ({"OIDC_ACR": "gold silver"}, {}, False),
        ({"OIDC_ACR": "gold"}, {"acr": ["gold"]}, False),
        ({"OIDC_AMR": "otp,pwd"}, {"amr": ["pwd", "otp", "x"]}, True),
        ({"OIDC_AMR": "otp,pwd"}, {"amr": ["pwd"]}, False),
        ({"OIDC_AMR": "otp"}, {"amr": "otp"}, False),
        ({"OIDC_AMR": "otp"}, {}, False),
    ],
)
def test_site_may_ask_for_a_strong_login(
    settings: dict[str, str], said: dict[str, Any], accepted: bool
) -> None:
    strict = rules(**settings)
    try:
        strict.check(HEADER, claims(**said), ID, NOW)
    except LoginRefused:
        assert not accepted
    else:
        assert accepted


@pytest.mark.parametrize(
    "value",
    [
        *("root", "daemon", "slurm", "munge", "nobody", "www-data"),
        *("hpcadmin", "carol", "Alice", "alice:x", "a,b", "a/b", "../a", "a\n", "ａlice", ""),
        *("ali\u00adce", "-alice", "a" * 65, None, ["alice"], 5, True),
    ],
)
def test_claim_that_names_no_person_is_refused(value: Any) -> None:
    own = {"ADMINISTRATORS": "hpcadmin, carol@main"}
    with pytest.raises(LoginRefused):
        rules(own=own).user_of(claims(preferred_username=value))


def test_file_of_users_decides_alone_who_may_log_in(tmp_path: Path) -> None:
    file = tmp_path / "users.yml"
    file.write_text("person-1: alice\nperson-2: hpcadmin\n'7': slurm\n")
    listed = rules(OIDC_USERS=file, OIDC_CLAIM="sub", own={"ADMINISTRATORS": "hpcadmin"})
    assert listed.user_of({"sub": "person-1"}) == ("alice", 1)
    assert listed.user_of({"sub": "person-2"}) == ("hpcadmin", 1)
    assert listed.user_of({"sub": "7"}) == ("slurm", 1)
    for other in ("person-3", "alice", 7):
        with pytest.raises(LoginRefused):
            listed.user_of({"sub": other, "preferred_username": "alice"})


@pytest.mark.parametrize(
    "content", ["- alice\n", "person: root\n", "7: alice\n", "person: 7\n", "a: [b]\n", "a: : b"]
)
def test_file_of_users_with_a_mistake_is_refused_at_start(tmp_path: Path, content: str) -> None:
    file = tmp_path / "users.yml"
    file.write_text(content)
    with pytest.raises(InvalidSettings, match="OIDC_USERS"):
        rules(OIDC_USERS=file)


def test_nonce_must_be_that_of_the_request() -> None:
    rules().check_nonce({"nonce": "n"}, "n")
    for wrong in ({}, {"nonce": "m"}, {"nonce": None}, {"nonce": ["n"]}, {"nonce": "\ud800"}):
        with pytest.raises(LoginRefused, match="nonce"):
            rules().check_nonce(wrong, "n")
