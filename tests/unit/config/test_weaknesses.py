"""Weaknesses of a configuration are named, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resop.config.settings import Settings
from resop.config.weaknesses import find_weaknesses

KEY = "q0w9e8r7t6y5u4i3o2p1a0s9d8f7g6h5"
SEVERAL: dict[str, Any] = {"SECRET_KEY": KEY, "KNOWN_HOSTS": "SHA256:x"}
OPENID: dict[str, Any] = {"OIDC_ISSUER": "https://id.hpc.example", "OIDC_AUDIENCE": "resop"}


def weaknesses(folder: Path, **values: Any) -> list[str]:
    settings = Settings(**{"DATA_DIR": folder / "data", **values})
    return find_weaknesses(settings, {"RESOP_CONFIG": str(folder / "config.env")})


def test_shipped_defaults_are_not_weak(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "config.env"
    assert find_weaknesses(Settings(DATA_DIR=tmp_path), {"RESOP_CONFIG": str(shipped)}) == []


def test_shipped_containers_are_not_weak(tmp_path: Path) -> None:
    """As docker-compose.yml sets them."""
    assert (
        weaknesses(
            tmp_path,
            HOST="0.0.0.0",
            PUBLISHED_ADDRESS="127.0.0.1",
            REDIS_URL="redis://:pw@redis:6379/0",
            DATABASE_URL="mysql+pymysql://resop:pw@mariadb/resop",
            **SEVERAL,
        )
        == []
    )


@pytest.mark.parametrize(
    ("values", "begin"),
    [
        ({"HOST": "0.0.0.0"}, "HOST: passwords and tokens are received without encryption"),
        ({"HOST": "::"}, "HOST: "),
        ({"HOST": "10.1.2.3"}, "HOST: "),
        ({"HOST": "0.0.0.0", "PUBLISHED_ADDRESS": "0.0.0.0"}, "HOST: "),
        ({"REDIS_URL": "redis://redis:6379/0", **SEVERAL}, "REDIS_URL: Redis asks for no password"),
        ({"REDIS_URL": "redis://:pw@redis.hpc.example", **SEVERAL}, "REDIS_URL: redis.hpc.example"),
        ({"DATABASE_URL": "mysql+pymysql://root:pw@db/resop"}, "DATABASE_URL: the service is root"),
        ({"CLUSTER_ADDRESS": "login.hpc.example"}, "KNOWN_HOSTS: the first host key"),
        ({"SSH_ALGORITHMS": "+ssh-rsa"}, "SSH_ALGORITHMS: ssh-rsa can be broken"),
        (OPENID, "OIDC_CLAIM: a person who may change preferred_username"),
        ({**OPENID, "OIDC_CLAIM": "email"}, "OIDC_CLAIM: a person who may change email"),
    ],
)
def test_weakness_is_named_with_its_setting(
    tmp_path: Path, values: dict[str, Any], begin: str
) -> None:
    (sentence,) = weaknesses(tmp_path, **values)
    assert sentence.startswith(begin)


@pytest.mark.parametrize(
    "values",
    [
        {"HOST": "::1"},
        {"HOST": "localhost"},
        {"HOST": "0.0.0.0", "TRUSTED_PROXIES": "10.0.0.1"},
        {"REDIS_URL": "rediss://:pw@redis.hpc.example", **SEVERAL},
        {"REDIS_URL": "redis://:pw@127.0.0.1:7000", **SEVERAL},
        {"CLUSTER_ADDRESS": "127.0.0.1"},
        {"CLUSTER_ADDRESS": "login.hpc.example", "KNOWN_HOSTS": "SHA256:x"},
        {**OPENID, "OIDC_CLAIM": "sub"},
    ],
)
def test_what_is_not_weak_is_not_mentioned(tmp_path: Path, values: dict[str, Any]) -> None:
    assert weaknesses(tmp_path, **values) == []


def test_first_key_that_was_pinned_is_not_mentioned(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "known_hosts").write_text("login ssh-ed25519 AAAA\n")
    assert weaknesses(tmp_path, CLUSTER_ADDRESS="login.hpc.example") == []


@pytest.mark.parametrize(
    ("lines", "mode", "weak"),
    [
        ("LDAP_BIND_PASSWORD=x\n", 0o644, True),
        ("  SECRET_KEY='x'\n", 0o604, True),
        ("LDAP_BIND_PASSWORD=x\n", 0o640, False),
        ("#SECRET_KEY=x\nDATABASE_URL=\nPORT=1\n", 0o644, False),
        ("PORT=1\n", 0o646, True),
    ],
)
def test_configuration_with_secrets_is_private(
    tmp_path: Path, lines: str, mode: int, weak: bool
) -> None:
    file = tmp_path / "config.env"
    file.write_text(lines)
    file.chmod(mode)
    found = weaknesses(tmp_path)
    assert bool(found) is weak
    assert all(sentence.startswith("RESOP_CONFIG: every user") for sentence in found)


def test_private_key_that_all_can_read_is_named(tmp_path: Path) -> None:
    for name in ("key", "certificate"):
        (tmp_path / name).write_text("")
    (tmp_path / "key").chmod(0o644)
    (sentence,) = weaknesses(
        tmp_path,
        ENABLE_HTTPS=True,
        SSL_PRIVATE_KEY=tmp_path / "key",
        SSL_CERTIFICATE=tmp_path / "certificate",
    )
    assert sentence.startswith(f"SSL_PRIVATE_KEY: every user of this machine can read {tmp_path}")


def test_policy_that_all_can_change_is_named(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text("default: allow\n")
    policy.chmod(0o666)
    (tmp_path / "config.env").write_text("")
    (sentence,) = weaknesses(tmp_path, POLICY_FILE=policy)
    assert sentence.startswith("POLICY_FILE: every user of this machine can change")
