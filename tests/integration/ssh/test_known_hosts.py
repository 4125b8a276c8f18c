"""Host names and known_hosts files are read as ssh reads them: each case is tried with both."""

import asyncio
import base64
import hmac
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from resop.config.settings import Settings
from resop.errors import HostKeyMismatch, KeyRefused
from resop.ssh import connector as connector_module
from resop.ssh import tcp
from resop.ssh.connector import Connector
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable

pytestmark = pytest.mark.timeout(60)

ALICE = Account("alice", "alice's password")
OTHER = asyncssh.generate_private_key("ssh-ed25519")
OTHER_KEY = OTHER.export_public_key().decode().strip()


class Site:
    """A login node on both loopback addresses, and the key of nobody."""

    def __init__(self, server: OpenSSH) -> None:
        self.server = server
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        lines = server.known_hosts.read_text().splitlines()
        kinds = {line.split()[1]: line.split(maxsplit=1)[1] for line in lines}
        self.host_key, self.ecdsa = kinds["ssh-ed25519"], kinds["ecdsa-sha2-nistp256"]

    def ssh_trusts(self, address: str, known_hosts: Path) -> bool:
        """Return whether ssh begins to log in."""
        options = {
            "BatchMode": "yes",
            "GlobalKnownHostsFile": "/dev/null",
            "PreferredAuthentications": "none",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "UserKnownHostsFile": known_hosts,
        }
        arguments = [part for each in options.items() for part in ("-o", f"{each[0]}={each[1]}")]
        done = subprocess.run(
            ["ssh", "-F", "none", *arguments, "-p", str(self.server.port), f"alice@{address}", ":"],
            capture_output=True,
            text=True,
            check=False,
        )
        trusted = "Permission denied" in done.stderr
        assert trusted or "Host key verification failed" in done.stderr, done.stderr
        return trusted

    async def resop_trusts(self, address: str, known_hosts: Path) -> bool:
        """Return whether resop begins to log in: with a key that sshd does not know."""
        settings = Settings(
            CLUSTER_ADDRESS=address,
            CLUSTER_SSH_PORT=self.server.port,
            KNOWN_HOSTS=str(known_hosts),
        )
        private = self.key.export_private_key("openssh")
        connector = Connector(settings)
        try:
            await connector.with_key(settings.cluster(None), ALICE.name, private)
        except HostKeyMismatch as fault:
            assert "nothing was sent" in fault.message
            return False
        except KeyRefused:
            return True
        pytest.fail("sshd accepted an unknown key")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("known"), [ALICE], config="ListenAddress ::1") as server:
        yield Site(server)


def hashed(name: str, salt: bytes = b"s" * 20) -> str:
    """Return a name as `ssh-keygen -H` writes it."""
    digest = hmac.digest(salt, name.encode(), "sha1")
    return "|1|" + "|".join(base64.b64encode(each).decode() for each in (salt, digest))


NAMES = [
    ("localhost", "[localhost]:{port}"),
    ("LocalHost", "[localhost]:{port}"),
    ("localhost", "[LOCALHOST]:{port}"),
    ("LOCALHOST", "localhost"),
    ("LocalHost", "{hashed}"),
    ("localhost", "{hashed}"),
    ("localhost", "{hashed_mixed}"),
    ("localhost", "[localhost]:1"),
    ("localhost", "[127.0.0.1]:{port}"),
    ("localhost", "[localhost]:{port},[127.0.0.1]:{port}"),
    ("localhost", "*"),
    ("localhost", "[local*]:{port}"),
    ("localhost", "[LOCAL????]:*"),
    ("localhost", "*,!localhost"),
    ("localhost", "*,![localhost]:{port}"),
    ("127.0.0.1", "[127.0.0.1]:{port}"),
    ("127.0.0.1", "127.0.0.0/8"),
    ("127.1", "[127.0.0.1]:{port}"),
    ("::1", "[::1]:{port}"),
    ("0:0::1", "[::1]:{port}"),
    ("::1", "::1"),
    ("::1", "[0:0::1]:{port}"),
]
"""An address, and the names before the right key."""


async def test_names_are_found_where_ssh_finds_them(site: Site, tmp_path: Path) -> None:
    port = site.server.port
    cases = {}
    for address, names in NAMES:
        names = names.format(
            port=port,
            hashed=hashed(f"[localhost]:{port}"),
            hashed_mixed=hashed(f"[LocalHost]:{port}"),
        )
        cases[f"{address} {names}"] = address, f"{names} {site.host_key}\n".encode()
    trusted = await compare(site, tmp_path, cases)
    assert trusted[f"LocalHost [localhost]:{port}"]
    assert not trusted["localhost [localhost]:1"]
    file = tmp_path / "brackets"
    file.write_text(f"[::1]:{port} {site.host_key}\n")
    assert await site.resop_trusts("[::1]", file)


async def compare(
    site: Site, folder: Path, cases: Mapping[str, tuple[str, bytes]]
) -> dict[str, bool]:
    """Check that ssh and resop trust the same; return which cases they trust.

    Each case is an address, and the content of a known_hosts file.
    """
    few = asyncio.Semaphore(4)

    async def trusted(number: int, case: str) -> tuple[bool, bool]:
        address, content = cases[case]
        file = folder / f"known{number}"
        file.write_bytes(content)
        async with few:
            by_ssh = asyncio.to_thread(site.ssh_trusts, address, file)
            return await by_ssh, await site.resop_trusts(address, file)

    answers = await asyncio.gather(*(trusted(*each) for each in enumerate(cases)))
    by_ssh, by_resop = (dict(zip(cases, each, strict=True)) for each in zip(*answers, strict=True))
    assert by_resop == by_ssh
    return by_ssh


@pytest.mark.parametrize("names", ["[localhost.]:{port}", "[localhost]:{port}", "localhost"])
async def test_final_dot_may_be_left_out_unlike_in_ssh(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    async def resolve(host: str, port: int) -> Any:
        assert host == "localhost."  # which the resolver of a machine without DNS does not know
        return await tcp.resolve("localhost", port)

    monkeypatch.setattr(connector_module, "resolve", resolve)
    file = tmp_path / "known"
    file.write_text(f"{names.format(port=site.server.port)} {site.host_key}\n")
    assert await site.resop_trusts("localhost.", file)


LINES = {
    "comment that is not UTF-8": b"{name} {key} caf\xe9 \xff\xfe",
    "line before that is not UTF-8": b"\xff\xfe\x80 {other}\n{name} {key}",
    "CRLF": b"{name} {key}\r\n{name} {other}\r\n",
    "tabs": b"\t{name}\t{kind}\t{blob}\tcomment",
    "no line end": b"{name} {key}",
    "NUL after the key": b"{name} {key}\0 more",
    "NUL before the key": b"{name} \0{key}",
    "line with NUL before": b"\0\0\0\n{name} {key}",
    "long line before": b"#"
    + b"x" * 200_000
    + b"\nname"
    + b"x" * 200_000
    + b" {key}\n{name} {key}",
    "long comment": b"{name} {key} " + b"x" * 200_000,
    "corrupt hash before": b"|1|abc|def {key}\n{name} {key}",
    "unknown kind of hash": b"|2|abc|def {key}\n{name} {key}",
    "hash without an end": b"|1|abc {key}\n{name} {key}",
    "unknown marker before": b"@unknown {name} {other}\n{name} {key}",
    "two markers": b"@revoked @cert-authority {name} {key}\n{name} {key}",
    "marker alone": b"@revoked\n{name} {key}",
    "unknown marker": b"@unknown {name} {key}",
    "missing key": b"{name}\n{name} ssh-ed25519\n{name} {key}",
    "comment in place of a key": b"{name} # {key}",
    "kind does not match the key": b"{name} ssh-rsa {blob}\n",
    "kind does not match the key, right line after": b"{name} ssh-rsa {blob}\n{name} {key}",
    "unknown kind": b"{name} ssh-frodo {blob}\n{name} {key}",
    "torn base64": b"{name} ssh-ed25519 AAAAC3NzaC1lZDI1\n{name} {key}",
    "SSH 1": b"{name} 1024 35 1234567890\n{name} {key}",
    "revoked": b"{name} {key}\n@revoked * {key}",
    "revoked for another host": b"{name} {key}\n@revoked other {key}",
    "other key first": b"{name} {other}\n{name} {key}",
    "other key only": b"{name} {other}",
    "other key with the port, right one without": b"{name} {other}\nlocalhost {key}",
    "ecdsa with the port, ed25519 without": b"{name} {ecdsa}\nlocalhost {key}",
    "a sign alone before": b"=\n{name} {key}",
    "ECDSA key off its curve before": b"{name} {off_curve}\n{name} {key}",
    "ECDSA key off its curve": b"{name} {off_curve}",
    "leading blanks": b"   {name} {key}",
    "two blanks": b"{name}  {kind}  {blob}",
    "empty": b"",
    "garbage": bytes(range(256)) * 40,
    "garbage before": bytes(range(256)) * 40 + b"\n{name} {key}",
}


async def test_lines_are_skipped_as_ssh_skips_them(site: Site, tmp_path: Path) -> None:
    kind, blob = site.host_key.split()[:2]
    ecdsa = base64.b64decode(site.ecdsa.split()[1])
    off_curve = base64.b64encode(ecdsa[:-1] + bytes([ecdsa[-1] ^ 1])).decode()
    values = {
        "name": f"[localhost]:{site.server.port}",
        "key": f"{kind} {blob}",
        "ecdsa": site.ecdsa,
        "off_curve": f"ecdsa-sha2-nistp256 {off_curve}",
        "other": OTHER_KEY,
        "kind": kind,
        "blob": blob,
    }
    cases = {}
    for case, content in LINES.items():
        for name, value in values.items():
            content = content.replace(b"{%s}" % name.encode(), value.encode())
        cases[case] = "localhost", content
    trusted = await compare(site, tmp_path, cases)
    assert trusted["comment that is not UTF-8"]
    assert not trusted["kind does not match the key"]


async def test_file_that_is_edited_is_read_again_whatever_is_in_it(
    site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "known"
    right = f"[localhost]:{site.server.port} {site.host_key}\n".encode()
    file.write_bytes(right)
    settings = Settings(
        CLUSTER_ADDRESS="localhost", CLUSTER_SSH_PORT=site.server.port, KNOWN_HOSTS=str(file)
    )
    connector, cluster = Connector(settings), settings.cluster(None)
    private = site.key.export_private_key("openssh")
    for content, trusted in [
        (right, True),
        (b"\xff\xfe\n@x y z\n|1|a|b c\n" + right, True),
        (b"\xff\xfe\n", False),
        (None, False),
        (right, True),
    ]:
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        fault = KeyRefused if trusted else HostKeyMismatch
        text = "no longer accepts the key" if trusted else "has no key of|is no file"
        with pytest.raises(fault, match=text):
            await connector.with_key(cluster, ALICE.name, private)


CERTIFICATES = {
    "right": ["localhost"],
    "any host": [],
    "another host": ["other.example"],
}


@pytest.mark.parametrize("case", [*CERTIFICATES, "expired", "expired, and its key is known"])
async def test_host_certificates_are_trusted_where_ssh_trusts_them(
    tmp_path: Path, case: str
) -> None:
    need(reason_unavailable())
    folder = tmp_path / "machine"
    server = OpenSSH(folder, [ALICE], config="HostCertificate /mnt/keys/host_ed25519-cert.pub")
    server._write_files()
    authority = asyncssh.generate_private_key("ssh-ed25519")
    certificate = authority.generate_host_certificate(
        asyncssh.read_public_key(folder / "keys" / "host_ed25519.pub"),
        "host",
        principals=CERTIFICATES.get(case, ["localhost"]),
        valid_before=1 if "expired" in case else 0xFFFFFFFFFFFFFFFF,
    )
    certificate.write_certificate(folder / "keys" / "host_ed25519-cert.pub")
    file = tmp_path / "known"
    # ssh looks for the authority of the name with the port, then of the name alone.
    line = f"@cert-authority localhost {authority.export_public_key().decode()}"
    with server:
        site = Site(server)
        if "key is known" in case:
            line += f"[localhost]:{server.port} {site.host_key}\n"
        file.write_text(line)
        assert await site.resop_trusts("LocalHost", file) is site.ssh_trusts("LocalHost", file)
