"""Certificates as OpenSSH's own tools read them."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import asyncssh
import pytest

from api.state.certificates import UserCA
from resop.security.certificate_serial import certificate_serial
from resop.storage.ids import new_id
from tests.support.needs import need

SOURCES = "192.0.2.0/28,2001:db8::/64"


@pytest.fixture
def ca(tmp_path: Path) -> UserCA:
    need(None if shutil.which("ssh-keygen") else "ssh-keygen is not installed")
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "ca")
    (tmp_path / "ca").chmod(0o600)
    key.write_public_key(tmp_path / "ca.pub")
    return UserCA(tmp_path / "ca", SOURCES)


def keygen(*arguments: str | Path, text: str = "", check: bool = True) -> str:
    done = subprocess.run(
        ["ssh-keygen", *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        check=check,
    )
    return done.stdout + done.stderr


def certificate(ca: UserCA, file: Path, credential: str) -> Path:
    key = asyncssh.generate_private_key("ssh-ed25519")
    serial = certificate_serial(credential)
    file.write_bytes(ca.sign(key, "alice", f"resop:x:{credential}", serial, time.time() + 60))
    return file


def test_certificate_has_the_logins_serial_and_the_services_addresses(
    ca: UserCA, tmp_path: Path
) -> None:
    credential = new_id()
    shown = keygen("-L", "-f", certificate(ca, tmp_path / "one-cert.pub", credential))
    assert f"Serial: {certificate_serial(credential)}\n" in shown
    assert f"source-address {SOURCES}" in shown
    assert certificate_serial(credential) != certificate_serial(new_id())


def test_certificate_is_valid_at_once_on_a_login_node_whose_clock_is_slow(
    ca: UserCA, tmp_path: Path
) -> None:
    shown = keygen("-L", "-f", certificate(ca, tmp_path / "one-cert.pub", new_id()))
    (begin,) = re.findall(r"Valid: from (\S+) to", shown)
    minutes = (time.time() - time.mktime(time.strptime(begin, "%Y-%m-%dT%H:%M:%S"))) / 60
    assert 14 < minutes < 16


def test_serials_of_ended_logins_revoke_their_certificates_and_no_others(
    ca: UserCA, tmp_path: Path
) -> None:
    ended, live = new_id(), new_id()
    revoked = certificate(ca, tmp_path / "ended-cert.pub", ended)
    other = certificate(ca, tmp_path / "live-cert.pub", live)
    list_file = tmp_path / "revoked.krl"
    serials = tmp_path / "serials"
    serials.write_text(f"serial: {certificate_serial(ended)}\n")
    keygen("-k", "-f", list_file, "-s", tmp_path / "ca.pub", serials)
    assert "REVOKED" in keygen("-Q", "-f", list_file, revoked, check=False)
    assert "REVOKED" not in keygen("-Q", "-f", list_file, other)
