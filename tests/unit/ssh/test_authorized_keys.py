"""Editing the content of authorized_keys: only our own lines change."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resop.ssh.authorized_keys import KeyLine, NodeClock, add_line, remove_lines

TIME = datetime(2026, 3, 1, 11, 0, 0, tzinfo=UTC)
NOW = NodeClock(TIME, timedelta(hours=1), utc=False)
"""The clock of a login node in Berlin whose sshd is older than 9.1."""
LATER = NOW.stamp(TIME + timedelta(hours=8))
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfNw5vn9Jr1yuLOFXpQn2qQ0nCfTQmYw1jfHnL8y7aB"
HERE, ELSEWHERE = "0a1b2c3d4e5f", "f5e4d3c2b1a0"
LINE = KeyLine(PUBLIC, HERE, "0193a1b2-0000-7000-8000-00000000000a", LATER)
SECOND = dataclasses.replace(LINE, credential="0193a1b2-0000-7000-8000-00000000000b")
EXPIRED = dataclasses.replace(SECOND, expiry=NOW.stamp(TIME - timedelta(seconds=1))).render()
FOREIGN = dataclasses.replace(
    SECOND, instance=ELSEWHERE, expiry=NOW.stamp(TIME - timedelta(days=9))
).render()

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


def without(content: bytes, line: KeyLine = LINE, now: NodeClock = NOW) -> bytes:
    return remove_lines(content, {line.instance}, {line.credential}, now)


def test_line_has_the_format_of_sshd() -> None:
    assert (
        LINE.render()
        == (
            f'restrict,expiry-time="20260301200000" {PUBLIC} '
            f"resop:{HERE}:0193a1b2-0000-7000-8000-00000000000a\n"
        ).encode()
    )


@pytest.mark.parametrize("others", OTHERS)
def test_file_is_byte_for_byte_the_same_after_login_and_logout(others: bytes) -> None:
    during = add_line(others, LINE, NOW)
    assert during == LINE.render() + others
    assert without(during) == others


@settings(deadline=None)
@given(others=st.binary() | st.lists(st.sampled_from(OTHERS)).map(b"".join))
def test_removing_undoes_adding_whatever_is_in_the_file(others: bytes) -> None:
    before = without(others)  # our expired lines are removed as well
    assert without(add_line(before, LINE, NOW)) == before


@pytest.mark.parametrize("others", OTHERS)
def test_concurrent_logins_end_one_by_one(others: bytes) -> None:
    both = add_line(add_line(others, LINE, NOW), SECOND, NOW)
    assert without(both, LINE) == SECOND.render() + others
    assert without(both, SECOND) == LINE.render() + others
    assert without(without(both, LINE), SECOND) == others


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_expired_lines_of_this_instance_are_removed(end: bytes) -> None:
    expired = EXPIRED.rstrip(b"\n") + end
    content = b"ssh-rsa A x\n" + expired + FOREIGN + expired + b"ssh-rsa B y"
    rest = b"ssh-rsa A x\n" + FOREIGN + b"ssh-rsa B y"
    assert add_line(content, LINE, NOW) == LINE.render() + rest
    assert without(content) == rest


def test_lines_of_several_credentials_are_removed() -> None:
    theirs = dataclasses.replace(SECOND, instance=ELSEWHERE).render()
    content = b"ssh-rsa A x\n" + SECOND.render() + theirs + LINE.render()
    ended = {SECOND.credential, LINE.credential}
    assert remove_lines(content, {HERE}, ended, NOW) == b"ssh-rsa A x\n" + theirs


@pytest.mark.parametrize(("seconds", "stays"), [(1, True), (0, False), (-1, False)])
def test_line_stays_until_it_expires(seconds: int, stays: bool) -> None:
    older = dataclasses.replace(
        SECOND, expiry=NOW.stamp(TIME + timedelta(seconds=seconds))
    ).render()
    assert add_line(older, LINE, NOW) == LINE.render() + (older if stays else b"")


def test_lines_of_other_instances_stay_even_with_the_same_credential() -> None:
    expiry = NOW.stamp(TIME - timedelta(days=1))
    theirs = dataclasses.replace(LINE, instance=ELSEWHERE, expiry=expiry).render()
    assert without(add_line(theirs, LINE, NOW)) == theirs


def test_damaged_date_in_our_own_line_does_no_harm() -> None:
    odd = [EXPIRED.replace(b"20260301115959", date) for date in (b"2" * 14, b"9" * 14)]
    content = b"".join(odd)
    assert add_line(content, LINE, NOW) == LINE.render() + content
    assert without(odd[0].replace(b"2" * 14, b"0" * 14)) == b""


def test_line_without_an_end_is_recognised() -> None:
    assert without(b"ssh-rsa A x\n" + LINE.render().rstrip(b"\n")) == b"ssh-rsa A x\n"


def test_removing_a_missing_line_changes_nothing() -> None:
    assert without(SECOND.render()) == SECOND.render()


def test_newer_sshd_reads_the_expiry_in_utc() -> None:
    clock = dataclasses.replace(NOW, utc=True)
    assert clock.stamp(TIME) == "20260301110000Z"
    line = dataclasses.replace(LINE, expiry=clock.stamp(TIME + timedelta(hours=8)))
    assert b'expiry-time="20260301190000Z"' in line.render()
    assert remove_lines(line.render(), {HERE}, {LINE.credential}, clock) == b""


def test_older_sshd_reads_the_expiry_in_standard_time_in_summer_as_well() -> None:
    july = dataclasses.replace(NOW, now=datetime(2026, 7, 1, 10, tzinfo=UTC))
    assert july.stamp(july.now) == "20260701110000"  # 12:00 on the wall


@pytest.mark.parametrize("utc", [False, True])
@pytest.mark.parametrize(("seconds", "stays"), [(-1, False), (0, False), (1, True)])
def test_lines_of_either_kind_expire(seconds: int, stays: bool, utc: bool) -> None:
    """The cluster's sshd may have been upgraded since the line was written."""
    writer = dataclasses.replace(NOW, utc=utc)
    reader = dataclasses.replace(NOW, utc=not utc)
    expiry = writer.stamp(TIME + timedelta(seconds=seconds))
    older = dataclasses.replace(SECOND, expiry=expiry).render()
    assert (older in add_line(older, LINE, reader)) is stays


@pytest.mark.parametrize("sources", ["192.0.2.10", "192.0.2.0/24,2001:db8::/64"])
def test_line_can_be_restricted_to_addresses_and_is_removed_like_any_other(sources: str) -> None:
    line = dataclasses.replace(LINE, sources=sources)
    assert line.render().startswith(f'restrict,from="{sources}",expiry-time="'.encode())
    assert without(line.render()) == b""
    # Also after the setting was changed.
    assert without(LINE.render() + line.render()) == b""
