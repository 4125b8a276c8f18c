"""The description of a testbed: the addresses, users and passwords in testbed.json."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

DEFAULT_STATE = Path("/var/tmp/resop-testbed")  # noqa: S108  /run and /tmp do not survive a reboot
DEFAULT_PORT = 17800
"""The first port: below the ephemeral ports, so that no outgoing connection uses it."""
DEFAULT_MIN_JOB_AGE = 300
"""Slurm's default, in seconds."""

CPU_NODES = ("cn01", "cn02", "cn03", "cn04")
GPU_NODES = ("gpu01", "gpu02")
HPC_GID = 20000
FIRST_LDAP_UID = 20001
ADMIN_UID = 19000

_HOST = "127.0.0.1"
_TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # noqa: S105


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SiteUser(_Part):
    """A user who can log in with `password`, or with the private key in the file `key`.

    With a `totp_secret` (base32, RFC 6238) a login also needs a one-time code.
    """

    name: str
    uid: int
    password: str
    key: Path
    totp_secret: str | None = None


class Ssh(_Part):
    """The login node's sshd; it trusts user certificates signed with the key `user_ca`."""

    host: str
    port: int
    known_hosts: Path
    user_ca: Path


class Ldap(_Part):
    """The LDAP directory, and the account that may change it."""

    uri: str
    base: str
    people: str
    groups: str
    bind_dn: str
    password: str
    first_free_uid: int
    gid: int


class PortalDatabase(_Part):
    """The database of the portal (tables users, sessions) on one of the two servers."""

    host: str
    port: int
    name: str
    user: str
    password: str


class Slurm(_Part):
    """The Slurm cluster; slurmctld uses `first_port`, slurmdbd and the nodes the next ports."""

    cluster: str
    first_port: int
    min_job_age: int
    partitions: tuple[str, ...]
    accounts: tuple[str, ...]
    cpu_nodes: tuple[str, ...]
    gpu_nodes: tuple[str, ...]


class SiteDescription(_Part):
    """The description of a testbed; all paths are the host's.

    `users` and `two_factor` are in LDAP; `admin` is a local account of the login node.
    """

    state: Path
    hostname: str
    ssh: Ssh
    users: tuple[SiteUser, ...]
    two_factor: SiteUser
    admin: SiteUser
    ldap: Ldap
    postgresql: PortalDatabase
    mariadb: PortalDatabase
    slurm: Slurm

    @property
    def ldap_users(self) -> tuple[SiteUser, ...]:
        """The initial users in LDAP."""
        return (*self.users, self.two_factor)

    @property
    def all_users(self) -> tuple[SiteUser, ...]:
        """All initial users."""
        return (*self.ldap_users, self.admin)

    def ports(self) -> Iterator[int]:
        """Yield every port in use; all are on the loopback address."""
        yield self.ssh.port
        yield int(self.ldap.uri.rpartition(":")[2])
        yield self.mariadb.port
        yield self.postgresql.port
        nodes = len(self.slurm.cpu_nodes) + len(self.slurm.gpu_nodes)
        yield from range(self.slurm.first_port, self.slurm.first_port + 2 + nodes)

    @classmethod
    def load(cls, state: Path) -> "SiteDescription | None":
        """Load the description from a state folder; None if there is none yet."""
        file = state / "testbed.json"
        return cls.model_validate_json(file.read_text()) if file.exists() else None

    def save(self) -> None:
        """Write the description to testbed.json."""
        (self.state / "testbed.json").write_text(self.model_dump_json(indent=2) + "\n")


def describe_site(state: Path, port: int, min_job_age: int) -> SiteDescription:
    """Describe a testbed in the folder `state`, on `port` and the next eleven ports."""
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


def _user(keys: Path, name: str, uid: int) -> SiteUser:
    return SiteUser(name=name, uid=uid, password=f"{name}-pw", key=keys / name)


def _portal(port: int) -> PortalDatabase:
    return PortalDatabase(host=_HOST, port=port, name="portal", user="portal", password="portal-pw")  # noqa: S106


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
