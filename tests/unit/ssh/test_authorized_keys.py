"""authorized_keys: our lines come and go, every other byte stays."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resop.ssh.authorized_keys import KeyLine, added, removed
from tests.support.needs import need

NOW = datetime(2026, 3, 1, 12, 0, 0)
"""Local time of a login node."""
LATER = NOW + timedelta(hours=8)
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfNw5vn9Jr1yuLOFXpQn2qQ0nCfTQmYw1jfHnL8y7aB"
HERE, ELSEWHERE = "0a1b2c3d4e5f", "f5e4d3c2b1a0"
LINE = KeyLine(PUBLIC, HERE, "0193a1b2-0000-7000-8000-00000000000a", LATER)
SECOND = dataclasses.replace(LINE, credential="0193a1b2-0000-7000-8000-00000000000b")
EXPIRED = dataclasses.replace(SECOND, expires=NOW - timedelta(seconds=1)).render()
FOREIGN = dataclasses.replace(SECOND, instance=ELSEWHERE, expires=NOW - timedelta(days=9)).render()

OTHERS = [
    b"",
    b"\n",
    b"\n\n\n",
    b"ssh-rsa AAAAB3 ada@laptop\n",
    b"ssh-rsa AAAAB3 ada@laptop",
    b"ssh-rsa AAAAB3 ada@laptop\r\nssh-rsa AAAAB4 x\r\n",
    b"ssh-rsa AAAAB3 ada@laptop\r",
    b"# a comment\n\n  \t\nssh-rsa AAAAB3\n",
    b'from="10.0.0.0/8",command="echo \\"x\\"" ssh-rsa AAAAB3 x\n',
    b"\x00\x00binary\xff\xfe\n\x00",
    "Schlüssel 😀\u2028\x0b\x0c\x85\n".encode(),
    b"\xef\xbb\xbfssh-rsa AAAAB3 x\n",
    b"restrict ssh-ed25519 AAAA resop:no\n",
    FOREIGN,
    b"# " + EXPIRED,
    b" " + EXPIRED,
    b"# note\r" + EXPIRED,
    EXPIRED.replace(b'"2026', b'"abcd'),
    b"x" * 100_000,
]


def gone(content: bytes, line: KeyLine = LINE, now: datetime = NOW) -> bytes:
    return removed(content, {line.instance}, line.credential, now)


def test_line_is_what_sshd_reads() -> None:
    assert (
        LINE.render()
        == (
            f'restrict,expiry-time="20260301200000" {PUBLIC} '
            f"resop:{HERE}:0193a1b2-0000-7000-8000-00000000000a\n"
        ).encode()
    )


def test_ssh_itself_reads_the_line(tmp_path: Path) -> None:
    file = tmp_path / "authorized_keys"
    file.write_bytes(LINE.render())
    read = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=False)
    need(None if read.returncode == 0 else f"ssh-keygen cannot read it: {read.stderr}")
    assert re.fullmatch(rf"256 SHA256:\S+ resop:{HERE}:\S+ \(ED25519\)\n", read.stdout)


@pytest.mark.parametrize("others", OTHERS)
def test_file_is_byte_for_byte_the_same_after_login_and_logout(others: bytes) -> None:
    during = added(others, LINE, NOW)
    assert during == LINE.render() + others
    assert gone(during) == others


@settings(deadline=None)
@given(others=st.binary() | st.lists(st.sampled_from(OTHERS)).map(b"".join))
def test_removing_undoes_adding_whatever_is_in_the_file(others: bytes) -> None:
    before = gone(others)  # without expired lines of our own, which go as well
    assert gone(added(before, LINE, NOW)) == before


@pytest.mark.parametrize("others", OTHERS)
def test_logins_side_by_side_end_one_by_one(others: bytes) -> None:
    both = added(added(others, LINE, NOW), SECOND, NOW)
    assert gone(both, LINE) == SECOND.render() + others
    assert gone(both, SECOND) == LINE.render() + others
    assert gone(gone(both, LINE), SECOND) == others


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_expired_lines_of_this_instance_are_taken_off(end: bytes) -> None:
    expired = EXPIRED.rstrip(b"\n") + end
    content = b"ssh-rsa A x\n" + expired + FOREIGN + expired + b"ssh-rsa B y"
    rest = b"ssh-rsa A x\n" + FOREIGN + b"ssh-rsa B y"
    assert added(content, LINE, NOW) == LINE.render() + rest
    assert gone(content) == rest


@pytest.mark.parametrize(("seconds", "stays"), [(1, True), (0, False), (-1, False)])
def test_line_stays_until_it_expires(seconds: int, stays: bool) -> None:
    older = dataclasses.replace(SECOND, expires=NOW + timedelta(seconds=seconds)).render()
    assert added(older, LINE, NOW) == LINE.render() + (older if stays else b"")


def test_lines_of_other_instances_stay_even_with_the_same_credential() -> None:
    theirs = dataclasses.replace(LINE, instance=ELSEWHERE, expires=NOW - timedelta(days=1)).render()
    assert gone(added(theirs, LINE, NOW)) == theirs


def test_damaged_date_in_our_own_line_stops_nobody() -> None:
    odd = [EXPIRED.replace(b"20260301115959", date) for date in (b"2" * 14, b"9" * 14)]
    content = b"".join(odd)
    assert added(content, LINE, NOW) == LINE.render() + content
    assert gone(odd[0].replace(b"2" * 14, b"0" * 14)) == b""


def test_line_without_an_end_is_recognised() -> None:
    assert gone(b"ssh-rsa A x\n" + LINE.render().rstrip(b"\n")) == b"ssh-rsa A x\n"


def test_removing_what_is_not_there_changes_nothing() -> None:
    assert gone(SECOND.render()) == SECOND.render()
