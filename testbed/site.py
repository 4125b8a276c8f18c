"""What a testbed provides, typed: the addresses, people and passwords that testbed.json tells."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

DEFAULT_STATE = Path("/var/tmp/resop-testbed")  # noqa: S108  /run and /tmp are lost at a reboot
DEFAULT_PORT = 17800
"""The first of the ports: below the ephemeral ones, where no outgoing connection takes it."""
DEFAULT_MIN_JOB_AGE = 300
"""Slurm's own default."""

CPU_NODES = ("cn01", "cn02", "cn03", "cn04")
GPU_NODES = ("gpu01", "gpu02")
HPC_GID = 20000
FIRST_LDAP_UID = 20001
ADMIN_UID = 19000

_HOST = "127.0.0.1"
_TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # noqa: S105


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class User(_Part):
    """Somebody who can log in; `key` is the private half of a key pair that is accepted, too.

    With a `totp_secret` (base32, RFC 6238) a login needs a one-time code besides.
    """

    name: str
    uid: int
    password: str
    key: Path
    totp_secret: str | None = None


class Ssh(_Part):
    """The login node's sshd. `user_ca` signs user certificates that it trusts."""

    host: str
    port: int
    known_hosts: Path
    user_ca: Path


class Ldap(_Part):
    """The directory, and the account that may change it."""

    uri: str
    base: str
    people: str
    groups: str
    bind_dn: str
    password: str
    first_free_uid: int
    gid: int


class Database(_Part):
    """The `portal` database (tables users, sessions) in one of the two servers."""

    host: str
    port: int
    name: str
    user: str
    password: str


class Slurm(_Part):
    """The cluster. `first_port` is slurmctld's; slurmdbd and the nodes have those that follow."""

    cluster: str
    first_port: int
    min_job_age: int
    partitions: tuple[str, ...]
    accounts: tuple[str, ...]
    cpu_nodes: tuple[str, ...]
    gpu_nodes: tuple[str, ...]


class SiteDescription(_Part):
    """All of a testbed. `users` and `two_factor` live in LDAP, `admin` is local to the login node.

    Paths are the host's.
    """

    state: Path
    hostname: str
    ssh: Ssh
    users: tuple[User, ...]
    two_factor: User
    admin: User
    ldap: Ldap
    postgresql: Database
    mariadb: Database
    slurm: Slurm

    @property
    def ldap_users(self) -> tuple[User, ...]:
        """Everybody in the directory at first."""
        return (*self.users, self.two_factor)

    @property
    def everybody(self) -> tuple[User, ...]:
        """Everybody who can log in at first."""
        return (*self.ldap_users, self.admin)

    def ports(self) -> Iterator[int]:
        """Every port that something listens on, all on the loopback address."""
        yield self.ssh.port
        yield int(self.ldap.uri.rpartition(":")[2])
        yield self.mariadb.port
        yield self.postgresql.port
        nodes = len(self.slurm.cpu_nodes) + len(self.slurm.gpu_nodes)
        yield from range(self.slurm.first_port, self.slurm.first_port + 2 + nodes)

    @classmethod
    def load(cls, state: Path) -> "SiteDescription | None":
        """The testbed whose state is in this folder, or None if there is none yet."""
        file = state / "testbed.json"
        return cls.model_validate_json(file.read_text()) if file.exists() else None

    def save(self) -> None:
        """Write testbed.json."""
        (self.state / "testbed.json").write_text(self.model_dump_json(indent=2) + "\n")


def describe(state: Path, port: int, min_job_age: int) -> SiteDescription:
    """The testbed that is made in `state`, on `port` and those that follow."""
    keys = state / "keys"
    names = ("alice", "bob", "carol")
    users = tuple(_user(keys, name, FIRST_LDAP_UID + i) for i, name in enumerate(names))
    two_factor = _user(keys, "tfa", FIRST_LDAP_UID + len(users))
    ssh = Ssh(
        host=_HOST,
        port=port,
        known_hosts=state / "known_hosts",
        user_ca=keys / "user_ca",
    )
    slurm = Slurm(
        cluster="mini",
        first_port=port + 4,
        min_job_age=min_job_age,
        partitions=("debug", "batch"),
        accounts=("research", "project1"),
        cpu_nodes=CPU_NODES,
        gpu_nodes=GPU_NODES,
    )
    return SiteDescription(
        state=state,
        hostname="login",
        ssh=ssh,
        users=users,
        two_factor=two_factor.model_copy(update={"totp_secret": _TOTP_SECRET}),
        admin=_user(keys, "hpcadmin", ADMIN_UID),
        ldap=_ldap(port + 1),
        mariadb=_portal(port + 2),
        postgresql=_portal(port + 3),
        slurm=slurm,
    )


def _user(keys: Path, name: str, uid: int) -> User:
    return User(name=name, uid=uid, password=f"{name}-pw", key=keys / name)


def _portal(port: int) -> Database:
    return Database(host=_HOST, port=port, name="portal", user="portal", password="portal-pw")  # noqa: S106


def _ldap(port: int) -> Ldap:
    base = "dc=hpc,dc=example"
    return Ldap(
        uri=f"ldap://{_HOST}:{port}",
        base=base,
        people=f"ou=People,{base}",
        groups=f"ou=Groups,{base}",
        bind_dn=f"cn=admin,{base}",
        password="ldap-admin-pw",  # noqa: S106
        first_free_uid=FIRST_LDAP_UID + 100,
        gid=HPC_GID,
    )
