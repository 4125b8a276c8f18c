"""Secrets in files: NAME_FILE in place of NAME."""

from __future__ import annotations

from pathlib import Path

import pytest

from resop.config.settings import SECRETS, Settings, load_settings
from resop.errors import InvalidSettings

KEY = "q0w9e8r7t6y5u4i3o2p1a0s9d8f7g6h5"


def load(folder: Path, **environ: str) -> Settings:
    return load_settings(folder / "config.env", environ)


def test_secret_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    settings = load(tmp_path, SECRET_KEY_FILE=str(tmp_path / "key"))
    assert settings.secret_key() == KEY.encode()


def test_file_can_be_named_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:pw@redis:6379/0")
    (tmp_path / "key").write_text(KEY)
    lines = f"REDIS_URL_FILE={tmp_path}/url\nSECRET_KEY_FILE={tmp_path}/key\nKNOWN_HOSTS=SHA256:x\n"
    (tmp_path / "config.env").write_text(lines)
    assert load(tmp_path).redis_url == "redis://:pw@redis:6379/0"


def test_setting_of_an_operator_is_read_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pw").write_text("s3cret\r\n")
    (tmp_path / "config.env").write_text(f"LDAP_BIND_PASSWORD_FILE={tmp_path}/pw\n")
    monkeypatch.delenv("LDAP_BIND_PASSWORD", raising=False)
    assert load(tmp_path).setting("LDAP_BIND_PASSWORD") == "s3cret"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "cannot be read: it is not UTF-8"),
        (b"x" * 70_000, "has more than 65536 bytes"),
    ],
)
def test_file_without_a_secret_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidSettings, match=f"SECRET_KEY_FILE: {file} {reason}"):
        load(tmp_path, SECRET_KEY_FILE=str(file))


def test_secret_that_is_set_both_ways_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="environment: SECRET_KEY is set as well"):
        load(tmp_path, SECRET_KEY=KEY, SECRET_KEY_FILE="/no/such/file")


def test_fault_of_a_value_names_the_place_and_not_the_value(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short")
    with pytest.raises(InvalidSettings, match="SECRET_KEY has 5 characters") as refusal:
        load(tmp_path, SECRET_KEY_FILE=str(tmp_path / "key"))
    assert "short" not in refusal.value.message


def test_every_secret_setting_can_be_in_a_file() -> None:
    secret = {
        name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)
    }
    assert secret
    assert secret <= set(SECRETS)
