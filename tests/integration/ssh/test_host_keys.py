"""Only the right host key is trusted: listed, pinned by fingerprint, or the first one."""

import re
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from resop.config.clusters import Cluster
from resop.config.settings import Settings
from resop.errors import HostKeyMismatch, InvalidSettings
from resop.ssh.connector import Connector
from resop.ssh.host_keys import HostKeys, load_host_keys
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable

pytestmark = pytest.mark.timeout(30)

ALICE = Account("alice", "alice's password")
OTHER_KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    folder = tmp_path_factory.mktemp("hostkeys")
    authority = asyncssh.generate_private_key("ssh-ed25519")
    authority.write_public_key(folder / "authority.pub")
    # As at sites that certify their hosts: asyncssh would rather see the certificate.
    config = "HostCertificate /mnt/keys/host_ed25519-cert.pub"
    running = OpenSSH(folder, [ALICE], config=config)
    running._write_files()
    key = asyncssh.read_public_key(folder / "keys" / "host_ed25519.pub")
    certificate = authority.generate_host_certificate(key, "host", principals=[running.host])
    certificate.write_certificate(folder / "keys" / "host_ed25519-cert.pub")
    with running:
        yield running


def keys_of(server: OpenSSH) -> dict[str, str]:
    """Return the server's public keys by their algorithm, such as 'ssh-ed25519'."""
    lines = server.known_hosts.read_text().splitlines()
    return {line.split()[1]: line.split(maxsplit=1)[1] for line in lines}


def settings_for(server: OpenSSH, folder: Path, known: str | None) -> Settings:
    return Settings(
        CLUSTER_ADDRESS=server.host,
        CLUSTER_SSH_PORT=server.port,
        KNOWN_HOSTS=known,
        DATA_DIR=folder,
    )


async def log_in(settings: Settings) -> None:
    connector = Connector(settings)
    cluster = settings.cluster(None)
    async with await connector.with_password(cluster, ALICE.name, ALICE.password, None):
        pass


def a_file(folder: Path, *lines: str) -> str:
    file = folder / "known"
    file.write_text("".join(f"{line}\n" for line in lines))
    return str(file)


# -- a known_hosts file ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_server_presents_the_kind_of_key_that_is_listed(
    server: OpenSSH, tmp_path: Path, kind: str
) -> None:
    known = a_file(tmp_path, f"[{server.host}]:{server.port} {keys_of(server)[kind]}")
    await log_in(settings_for(server, tmp_path, known))


async def test_key_listed_without_a_port_counts_for_any(server: OpenSSH, tmp_path: Path) -> None:
    known = a_file(tmp_path, f"{server.host} {keys_of(server)['ssh-ed25519']}")
    await log_in(settings_for(server, tmp_path, known))


async def test_certificate_of_a_listed_authority_is_trusted(
    server: OpenSSH, tmp_path: Path
) -> None:
    authority = (server.folder / "authority.pub").read_text()
    await log_in(settings_for(server, tmp_path, a_file(tmp_path, f"@cert-authority * {authority}")))


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="empty file"),
        pytest.param(["[127.0.0.1]:1 {ed25519}", "elsewhere {ed25519}"], id="other hosts"),
        pytest.param([f"[{{host}}]:{{port}} {OTHER_KEY}"], id="another key"),
        pytest.param(["[{host}]:{port} {ed25519}", "@revoked * {ed25519}"], id="revoked"),
        pytest.param([f"@cert-authority * {OTHER_KEY}"], id="another authority"),
        pytest.param(["[{host}]:{port} {rsa}"], id="a kind that the server has not"),
    ],
)
async def test_key_that_is_not_listed_is_refused_before_anything_is_sent(
    server: OpenSSH, tmp_path: Path, lines: list[str]
) -> None:
    rsa = asyncssh.generate_private_key("ssh-rsa").export_public_key().decode().strip()
    known = a_file(
        tmp_path,
        *(
            line.format(
                host=server.host, port=server.port, ed25519=keys_of(server)["ssh-ed25519"], rsa=rsa
            )
            for line in lines
        ),
    )
    before = len(connections(server))
    with pytest.raises(HostKeyMismatch, match="nothing was sent"):
        await log_in(settings_for(server, tmp_path, known))
    (port,) = connections(server)[before:]
    # Only the lines of this connection: those of an earlier login may be written as late.
    lines = [line for line in server.log.read_text().splitlines() if f" port {port}" in line]
    assert not any(ALICE.name in line for line in lines)


def connections(server: OpenSSH) -> list[str]:
    """Return the clients' ports of all connections, from the log of sshd."""
    return re.findall(r"^Connection from \S+ port (\d+) on ", server.log.read_text(), re.MULTILINE)


@pytest.mark.parametrize("fault", ["missing", "a folder"])
def test_unreadable_file_is_named_at_startup(tmp_path: Path, fault: str) -> None:
    file = tmp_path / "the_known_hosts"
    if fault == "a folder":
        file.mkdir()
    settings = Settings(CLUSTER_ADDRESS="host", KNOWN_HOSTS=str(file), DATA_DIR=tmp_path)
    with pytest.raises(InvalidSettings, match=f"KNOWN_HOSTS: (there is no file )?{file}"):
        Connector(settings)


async def test_file_that_was_removed_later_is_named_in_the_refusal(
    server: OpenSSH, tmp_path: Path
) -> None:
    known = a_file(tmp_path, f"[{server.host}]:{server.port} {keys_of(server)['ssh-ed25519']}")
    settings = settings_for(server, tmp_path, known)
    connector = Connector(settings)
    (tmp_path / "known").unlink()
    with pytest.raises(HostKeyMismatch, match=f"no file {known}.*nothing was sent"):
        await connector.with_password(settings.cluster(None), ALICE.name, ALICE.password, None)


async def test_edited_file_counts_without_a_restart(server: OpenSSH, tmp_path: Path) -> None:
    known = a_file(tmp_path)
    settings = settings_for(server, tmp_path, known)
    connector, cluster = Connector(settings), settings.cluster(None)
    with pytest.raises(HostKeyMismatch):
        await connector.with_password(cluster, ALICE.name, ALICE.password, None)
    a_file(tmp_path, f"[{server.host}]:{server.port} {keys_of(server)['ssh-ed25519']}")
    async with await connector.with_password(cluster, ALICE.name, ALICE.password, None):
        pass


@pytest.mark.parametrize("port", [22, 2222])
def test_names_are_matched_as_ssh_writes_them(tmp_path: Path, port: int) -> None:
    name = "node.example" if port == 22 else f"[node.example]:{port}"
    key = asyncssh.generate_private_key("ssh-rsa").export_public_key().decode()
    known = a_file(tmp_path, f"{name} {key}")
    cluster = Cluster(name="here", address="node.example", ssh_port=port, known_hosts=known)
    keys = load_host_keys(cluster, Settings(DATA_DIR=tmp_path))
    assert keys.algorithms(keys.known())[0] == "rsa-sha2-512"
    elsewhere = cluster.model_copy(update={"address": "other.example"})
    keys = load_host_keys(elsewhere, Settings(DATA_DIR=tmp_path))
    assert keys.algorithms(keys.known())[0] == "ssh-ed25519"


# -- fingerprints ---------------------------------------------------------------------------


def fingerprint(line: str) -> str:
    return asyncssh.import_public_key(line).get_fingerprint()


@pytest.mark.parametrize("form", ["{right}", "{wrong}, {right}", "{right},{wrong}"])
async def test_one_of_several_fingerprints_is_enough(
    server: OpenSSH, tmp_path: Path, form: str
) -> None:
    right, wrong = fingerprint(keys_of(server)["ssh-ed25519"]), fingerprint(OTHER_KEY)
    await log_in(settings_for(server, tmp_path, form.format(right=right, wrong=wrong)))


async def test_other_fingerprint_is_refused_and_the_presented_one_named(
    server: OpenSSH, tmp_path: Path
) -> None:
    shown = fingerprint(keys_of(server)["ssh-ed25519"])
    with pytest.raises(HostKeyMismatch) as caught:
        await log_in(settings_for(server, tmp_path, fingerprint(OTHER_KEY)))
    assert shown in caught.value.message


def test_malformed_fingerprint_is_refused_at_startup(tmp_path: Path) -> None:
    settings = Settings(CLUSTER_ADDRESS="h", KNOWN_HOSTS="SHA256:abc, MD5:00", DATA_DIR=tmp_path)
    with pytest.raises(InvalidSettings, match="MD5:00"):
        Connector(settings)


# -- first use ------------------------------------------------------------------------------


async def test_first_key_is_pinned_and_another_one_refused_later(tmp_path: Path) -> None:
    need(reason_unavailable())
    with OpenSSH(tmp_path / "machine", [ALICE]) as server:
        settings = settings_for(server, tmp_path / "data", None)
        await log_in(settings)
        pins = tmp_path / "data" / "known_hosts"
        pinned = pins.read_text()
        assert pinned.split()[0] == f"[{server.host}]:{server.port}"
        assert pins.stat().st_mode & 0o777 == 0o600
        await log_in(settings)
        assert pins.read_text() == pinned
        server.rotate_host_key()
        with pytest.raises(HostKeyMismatch, match="nothing was sent"):
            await log_in(settings)
        assert pins.read_text() == pinned


async def test_pin_that_cannot_be_written_is_an_error(server: OpenSSH, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(InvalidSettings, match="DATA_DIR: the host key cannot be written"):
        await log_in(settings_for(server, tmp_path / "data", None))


def test_pins_of_several_clusters_live_in_one_file(tmp_path: Path) -> None:
    keys = [
        HostKeys(
            Cluster(name=f"c{port}", address="127.0.0.1", ssh_port=port),
            tmp_path / "known_hosts",
            first_use=True,
        )
        for port in (2221, 2222)
    ]
    made = [asyncssh.generate_private_key("ssh-ed25519").convert_to_public() for _ in keys]
    assert [each.trusts(key) for each, key in zip(keys, made, strict=True)] == [True, True]
    assert [each.trusts(key) for each, key in zip(keys, made, strict=True)] == [True, True]
    assert not keys[0].trusts(made[1])
    assert not keys[1].trusts(made[0])
    assert len((tmp_path / "known_hosts").read_text().splitlines()) == 2
