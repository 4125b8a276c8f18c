"""An OpenLDAP server of the tests, set up as sites have it: on loopback, in a temporary folder."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import HOST, free_port
from tests.support.services import Process

BASE = "dc=hpc,dc=example"
PEOPLE, GROUPS = f"ou=People,{BASE}", f"ou=Groups,{BASE}"
SERVICE, SERVICE_PASSWORD = f"cn=svc,{BASE}", "svc pw"
GROUP = 20000
SCHEMAS = Path("/etc/ldap/schema")

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_STRUCTURAL = "DESC 'Abstraction of a group of accounts'\n\tSUP top STRUCTURAL\n\tMUST ( cn $ "
_AUXILIARY = "DESC 'Abstraction of a group of accounts'\n\tSUP top AUXILIARY\n\tMUST ( "

# As openssh-lpk has it, and what FreeIPA needs.
_MORE_SCHEMA = """
attributetype ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey'
  EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey' SUP top AUXILIARY
  MAY ( sshPublicKey $ uid ) )
attributetype ( 2.16.840.1.113730.3.1.13 NAME 'mailAlternateAddress'
  EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )
objectclass ( 2.16.840.1.113730.3.2.3 NAME 'mailRecipient' SUP top AUXILIARY
  MAY ( mail $ mailAlternateAddress ) )
attributetype ( 2.16.840.1.113730.3.1.610 NAME 'nsAccountLock'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 2.16.840.1.113730.3.8.3.1 NAME 'ipaUniqueID'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 2.16.840.1.113730.3.8.4.8 NAME 'ipaObject' SUP top AUXILIARY
  MUST ipaUniqueID MAY nsAccountLock )
objectclass ( 2.16.840.1.113730.3.8.4.6 NAME 'nestedGroup' SUP top AUXILIARY
  MAY member )
"""

_CONF = """
include {schemas}/core.schema
include {schemas}/cosine.schema
include {folder}/nis.schema
include {schemas}/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload unique
moduleload refint
moduleload memberof
moduleload ppolicy
moduleload constraint
include {folder}/more.schema
pidfile {folder}/pid
argsfile {folder}/args
authz-regexp gidNumber=[0-9]+[+]uidNumber={uid},cn=peercred,cn=external,cn=auth {service}
{tls}
{server}
database mdb
suffix "{base}"
rootdn "cn=root,{base}"
rootpw root-pw
directory {folder}/data
maxsize 67108864
dbnosync
index objectClass eq
index uid,uidNumber,gidNumber,memberUid,member,cn eq
access to * by dn.exact="{service}" write by anonymous auth by self read by * read
{database}
"""

_TREE = """\
dn: {base}
objectClass: dcObject
objectClass: organization
dc: hpc
o: HPC example

dn: {service}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: svc
userPassword: {password}

dn: {people}
objectClass: organizationalUnit
ou: People

dn: {groups}
objectClass: organizationalUnit
ou: Groups

"""


@functools.cache
def reason_unavailable() -> str | None:
    """Return the reason why slapd cannot run on this machine, or None."""
    for tool in ("slapd", "ldapsearch", "openssl"):
        if shutil.which(tool, path=_PATH) is None:
            return f"{tool} is missing: install the Debian packages slapd, ldap-utils and openssl"
    return None


@dataclass(frozen=True)
class Slapd:
    """A running server; `settings` are those of config.env for it."""

    folder: Path
    port: int
    tls_port: int
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """The address without encryption."""
        return f"ldap://{HOST}:{self.port}"

    @property
    def socket_uri(self) -> str:
        """The address of the Unix socket."""
        return f"ldapi://{str(self.folder / 'ldapi').replace('/', '%2F')}"

    def search(self, query: str, *attributes: str, base: str = BASE) -> list[str]:
        """Return the lines that ldapsearch prints, without limits, sorted."""
        where = ["-x", "-LLL", "-o", "ldif-wrap=no", "-H", self.uri, "-b", base]
        bind = ["-D", f"cn=root,{BASE}", "-w", "root-pw"]
        command = ["ldapsearch", *where, *bind, query, *attributes]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return sorted(line for line in done.stdout.splitlines() if line and line[0] != "#")

    def values(self, query: str, attribute: str) -> list[str]:
        """Return the values of an attribute in all entries that match, sorted."""
        lines = self.search(query, attribute)
        start = f"{attribute}: "
        return [line.removeprefix(start) for line in lines if line.startswith(start)]

    def change(self, ldif: str) -> None:
        """Change entries as another program would."""
        bind = ["-x", "-H", self.uri, "-D", SERVICE, "-w", SERVICE_PASSWORD]
        subprocess.run(
            ["ldapmodify", "-a", *bind], input=ldif, text=True, check=True, capture_output=True
        )

    def accepts(self, dn: str, password: str) -> bool:
        """Return True if the server accepts this password."""
        command = ["ldapwhoami", "-x", "-H", self.uri, "-D", dn, "-w", password]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def slapd(
    folder: Path,
    *,
    auxiliary_groups: bool = False,
    server: str = "",
    database: str = "",
    entries: str = "",
    tls: bool = False,
    **settings: str,
) -> Iterator[Slapd]:
    """Run a server with further lines of slapd.conf(5) and entries; it ends with the block.

    With `auxiliary_groups`, posixGroup is as in rfc2307bis.
    """
    folder.joinpath("data").mkdir(parents=True)
    nis = (SCHEMAS / "nis.schema").read_text()
    folder.joinpath("nis.schema").write_text(
        nis.replace(_STRUCTURAL, _AUXILIARY) if auxiliary_groups else nis
    )
    folder.joinpath("more.schema").write_text(_MORE_SCHEMA)
    conf = folder / "slapd.conf"
    conf.write_text(
        _CONF.format(
            schemas=SCHEMAS,
            folder=folder,
            uid=os.getuid(),
            service=SERVICE,
            base=BASE,
            tls=_make_certificates(folder) if tls else "",
            server=server,
            database=database,
        )
    )
    tree = _TREE.format(
        base=BASE, service=SERVICE, password=SERVICE_PASSWORD, people=PEOPLE, groups=GROUPS
    )
    add = ["slapadd", "-q", "-f", str(conf)]
    subprocess.run(
        add, input=tree + entries, text=True, check=True, capture_output=True, env={"PATH": _PATH}
    )
    port, tls_port = free_port(), free_port()
    started = Slapd(folder, port, tls_port, _settings(folder, port) | settings)
    addresses = [started.uri, started.socket_uri]
    addresses += [f"ldaps://{HOST}:{tls_port}"] if tls else []
    command = ["slapd", "-d", "0", "-f", str(conf), "-h", " ".join(addresses)]
    process = Process(command, folder / "log", {"PATH": _PATH}, cwd=folder)
    try:
        process.until(lambda: started.accepts(SERVICE, SERVICE_PASSWORD), "slapd")
        yield started
    finally:
        process.stop()


POLICY = f"overlay ppolicy\nppolicy_default cn=policy,{BASE}\n"
"""The lines of a database with a policy for passwords."""


def policy_entry(quality: int) -> str:
    """Return the LDIF of the policy: at least ten characters, checked as `pwdCheckQuality` says."""
    return (
        f"dn: cn=policy,{BASE}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\n"
        f"pwdAttribute: userPassword\npwdCheckQuality: {quality}\npwdMinLength: 10\n"
        "pwdLockout: TRUE\n\n"
    )


def group_entry(name: str = "hpcusers", number: int = GROUP, *classes: str, **values: str) -> str:
    """Return the LDIF of a group."""
    lines = [f"dn: cn={name},{GROUPS}", *(f"objectClass: {each}" for each in classes)]
    lines += ["objectClass: posixGroup", f"cn: {name}", f"gidNumber: {number}"]
    lines += [f"{key}: {value}" for key, value in values.items()]
    return "\n".join(lines) + "\n\n"


def user_entry(name: str, number: int, *classes: str, dn: str | None = None, more: str = "") -> str:
    """Return the LDIF of a user as other programs make one: without shadowAccount."""
    return (
        f"dn: {dn or f'uid={name},{PEOPLE}'}\n"
        + "".join(f"objectClass: {each}\n" for each in (*classes, "inetOrgPerson", "posixAccount"))
        + f"uid: {name}\ncn: {name}\nsn: {name}\nuidNumber: {number}\ngidNumber: {GROUP}\n"
        + f"homeDirectory: /home/{name}\nmail: {name}@hpc.example\n{more}\n"
    )


def _settings(folder: Path, port: int) -> dict[str, str]:
    homes = folder / "homes"
    homes.mkdir()
    return {
        "ADMINISTRATORS": "ada",
        "LDAP_URI": f"ldap://{HOST}:{port}",
        "LDAP_BIND_DN": SERVICE,
        "LDAP_BIND_PASSWORD": SERVICE_PASSWORD,
        "LDAP_PEOPLE": PEOPLE,
        "LDAP_GROUPS": GROUPS,
        "LDAP_FIRST_UID": "20000",
        "LDAP_FIRST_GID": "30000",
        "LDAP_GID": str(GROUP),
        "LDAP_HOME": f"{homes}/{{username}}",
    }


def _make_certificates(folder: Path) -> str:
    """Make a private CA and the server's certificate; return the lines of slapd.conf."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    ca = ["-x509", "-subj", "/CN=HPC CA", "-keyout", "ca.key", "-out", "ca.pem"]
    request = ["-subj", "/CN=ldap", "-keyout", "ldap.key", "-out", "ldap.csr"]
    sign = ["-in", "ldap.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    (folder / "names").write_text(f"subjectAltName=IP:{HOST}")
    for command in (
        ["req", *key, *ca],
        ["req", *key, *request],
        ["x509", "-req", *sign, "-days", "2", "-extfile", "names", "-out", "ldap.pem"],
    ):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    files = {"CACertificateFile": "ca", "CertificateFile": "ldap"}
    lines = [f"TLS{key} {folder}/{name}.pem" for key, name in files.items()]
    return "\n".join([*lines, f"TLSCertificateKeyFile {folder}/ldap.key"])
