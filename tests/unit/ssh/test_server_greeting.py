"""The text, version and algorithms of a server are understood however they arrive."""

import struct

from resop.ssh.server_greeting import MAX_BYTES, MAX_TEXT, ServerGreeting


def kexinit(*lists: str) -> bytes:
    names = b"".join(struct.pack("!I", len(each)) + each.encode() for each in lists)
    payload = b"\x14" + b"c" * 16 + names + b"\0" * 5
    return struct.pack("!IB", len(payload) + 1 + 4, 4) + payload + b"pppp"


LISTS = ["curve25519-sha256", "ssh-rsa,ssh-dss", *["aes128-ctr"] * 2, *["hmac-sha1"] * 2, "none"]


def test_algorithms_are_read_from_any_pieces() -> None:
    data = b"Welcome\r\nto\x07 it\r\nSSH-2.0-x y\r\n" + kexinit(*LISTS)
    for size in (1, 7, len(data)):
        greeting = ServerGreeting()
        ends = [greeting.feed(data[at : at + size]) for at in range(0, len(data), size)]
        assert ends[-1] and ends == sorted(ends)
        assert greeting.host_key_algorithms == ["ssh-rsa", "ssh-dss"]
        assert greeting.version == "SSH-2.0-x y"
        assert greeting.text == r"Welcome to\x07 it"


def test_other_servers_have_a_text_and_no_version() -> None:
    for data, version, text in [
        (b"", "", ""),
        (b"HTTP/1.1 400 Bad\r\n\r\n", "", "HTTP/1.1 400 Bad"),
        (b"SSH-2.0-half", "SSH-2.0-half", ""),
        (b"SSH-2.0-a\r\n\xff\xff\xff\xff\xff\xff", "SSH-2.0-a", ""),
        (b"\xff\xfe" * 999, "", r"\ufffd" * MAX_TEXT),
    ]:
        greeting = ServerGreeting()
        assert not greeting.feed(data)
        assert (greeting.version, greeting.text) == (version, text)
        assert greeting.host_key_algorithms == []
    assert ServerGreeting().feed(b"x" * 2 * MAX_BYTES)


def test_torn_lists_are_no_algorithms() -> None:
    greeting = ServerGreeting()
    greeting.feed(b"SSH-2.0-a\r\n" + kexinit("a") + struct.pack("!I", 999))
    assert greeting.host_key_algorithms in ([], [""])
