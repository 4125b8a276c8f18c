"""A known_hosts file is read as ssh reads it: line by line, and a line at fault costs only itself.

`tests/integration/ssh/test_known_hosts.py` asks ssh itself.
"""

import asyncssh

from resop.ssh.known_hosts import KnownKeys, find_host_keys

KEYS = [asyncssh.generate_private_key("ssh-ed25519").convert_to_public() for _ in range(2)]
KEY, OTHER = (key.export_public_key("openssh").strip() for key in KEYS)


def found(content: bytes, *names: str) -> KnownKeys:
    return find_host_keys(content, names or ["host"])


def test_lines_of_the_host_are_found() -> None:
    for names in (b"host", b"HOST", b"a,host", b"ho?t", b"h*,!other", b"*"):
        known = found(names + b"\t" + KEY + b" a comment\r\n")
        assert (known.keys, known.skipped) == ([KEYS[0]], [])
    for names in (b"hos", b"host2", b"*,!host", b"!host", b"host.*", b"[host]:22", b"10.0.0.0/8"):
        assert found(names + b" " + KEY).is_empty
    assert found(b"[10.0.0.1]:2222 " + KEY, "[10.0.0.1]:2222").keys == [KEYS[0]]
    assert found(b"10.0.0.0/8 " + KEY, "10.0.0.1").is_empty


def test_markers_are_kept_apart() -> None:
    known = found(
        b"@cert-authority * %b\n@revoked\thost %b\nhost %b\n" % (OTHER, OTHER, KEY), "host"
    )
    assert (known.keys, known.authorities, known.revoked) == ([KEYS[0]], [KEYS[1]], [KEYS[1]])
    assert not known.is_empty


def test_lines_at_fault_are_skipped_and_counted() -> None:
    torn = [
        b"host",
        b"host ssh-ed25519",
        b"host # " + KEY,
        b"host ssh-rsa " + KEY.split()[1],
        b"host ssh-ed25519 AAAA",
        b"host nonsense " + KEY.split()[1],
        b"host 1024 35 1234567",
        b"|1|abc|def " + KEY,
        b"|2|" + b"A" * 27 + b"=|x= " + KEY,
        b"@unknown host " + KEY,
        b"@revoked @cert-authority host " + KEY,
        b"@revoked",
        b"\xff\xfe\x00host " + KEY,
    ]
    for line in torn:
        known = found(line + b"\nhost " + KEY)
        assert (known.keys, known.skipped) == ([KEYS[0]], [1]), line
    assert found(b"\n# comment\n  \t\nhost " + KEY).skipped == []
    assert found(b"host " + KEY + b" caf\xe9 \xff\nhost " + OTHER).keys == KEYS
    assert found(b"host " + KEY + b"\0 anything").keys == [KEYS[0]]
    assert found(b"x" * 100_000 + b" " + KEY + b"\nhost " + KEY).keys == [KEYS[0]]
    assert found(b"", "host").is_empty


def test_key_without_a_port_counts_where_there_is_none_of_its_kind_with_it() -> None:
    ecdsa = asyncssh.generate_private_key("ecdsa-sha2-nistp256").convert_to_public()
    known = KnownKeys([KEYS[0]], skipped=[2])
    known.add_default(KnownKeys([KEYS[1], ecdsa], [KEYS[1]], [KEYS[1]], [1]))
    assert known == KnownKeys([KEYS[0], ecdsa], [KEYS[1]], [KEYS[1]], [1, 2])
