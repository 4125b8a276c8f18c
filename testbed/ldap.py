"""OpenLDAP with users and groups, and nslcd, through which NSS and PAM query it."""

from testbed import files
from testbed.daemon import Daemon
from testbed.machine import Machine
from testbed.site import SiteDescription, SiteUser

_SLAPD_CONF = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile /run/slapd/pid
argsfile /run/slapd/args
database mdb
suffix "{ldap.base}"
rootdn "{ldap.bind_dn}"
rootpw {ldap.password}
directory /srv/slapd
maxsize 67108864
dbnosync
index objectClass eq
index uid,uidNumber,gidNumber,memberUid,cn eq
access to attrs=userPassword by self write by anonymous auth by * none
access to * by * read
"""

_NSLCD_CONF = """\
uid nslcd
gid nslcd
uri {ldap.uri}/
base {ldap.base}
base passwd {ldap.people}
base shadow {ldap.people}
base group {ldap.groups}
reconnect_sleeptime 1
reconnect_retrytime 2
bind_timelimit 3
timelimit 5
nss_initgroups_ignoreusers {local}
"""

_LDAP_CONF = """\
URI {ldap.uri}
BASE {ldap.base}
"""

_TREE = """\
dn: {ldap.base}
objectClass: dcObject
objectClass: organization
dc: hpc
o: HPC example

dn: {ldap.people}
objectClass: organizationalUnit
ou: People

dn: {ldap.groups}
objectClass: organizationalUnit
ou: Groups

dn: cn=hpcusers,{ldap.groups}
objectClass: posixGroup
cn: hpcusers
gidNumber: {ldap.gid}

dn: cn=mfa,{ldap.groups}
objectClass: posixGroup
cn: mfa
gidNumber: 20900
memberUid: {two_factor.name}
"""

_USER_ENTRY = """
dn: uid={user.name},{ldap.people}
objectClass: inetOrgPerson
objectClass: posixAccount
objectClass: shadowAccount
uid: {user.name}
cn: {user.name}
sn: {user.name}
mail: {user.name}@hpc.example
uidNumber: {user.uid}
gidNumber: {ldap.gid}
homeDirectory: /home/{user.name}
loginShell: /bin/bash
userPassword: {hash}
"""

# Local accounts have no LDAP groups, so daemons start and the administrator logs in without LDAP.
_LOCAL_ACCOUNTS = ("root", "slurm", "munge", "mysql", "postgres", "openldap", "nslcd", "sshd")


def prepare(site: SiteDescription) -> None:
    """Write the configuration of both daemons and of the clients."""
    etc = site.state / "etc"
    slapd = _SLAPD_CONF.format(ldap=site.ldap)
    files.write_file(etc / "ldap" / "slapd.conf", slapd, mode=0o640, owner="openldap")
    files.write_file(etc / "ldap" / "ldap.conf", _LDAP_CONF.format(ldap=site.ldap))
    nslcd = _NSLCD_CONF.format(ldap=site.ldap, local=",".join([*_LOCAL_ACCOUNTS, site.admin.name]))
    files.write_file(etc / "nslcd.conf", nslcd, mode=0o640, owner="nslcd")


def daemons(site: SiteDescription) -> list[Daemon]:
    """Return slapd and nslcd."""
    search = ("ldapsearch", "-x", "-LLL", "-H", site.ldap.uri, "-b", site.ldap.base, "-s", "base")
    listen = ("-h", f"{site.ldap.uri}/", "-u", "openldap", "-g", "openldap")
    return [
        Daemon(
            name="slapd",
            # "-d 0" makes slapd run in the foreground.
            command=("/usr/sbin/slapd", "-d", "0", "-f", "/etc/ldap/slapd.conf", *listen),
            ready=search,
            prepare=lambda machine: _prepare_slapd(site, machine),
        ),
        Daemon(
            name="nslcd",
            command=("/usr/sbin/nslcd", "-n"),
            ready=("getent", "passwd", site.two_factor.name),
            needs=("slapd",),
            prepare=_prepare_nslcd,
        ),
    ]


def _prepare_slapd(site: SiteDescription, machine: Machine) -> None:
    files.make_folder(machine.inside("/run/slapd"), owner="openldap")

    def fill() -> None:
        people = [_user_entry(site, user, machine) for user in site.ldap_users]
        tree = _TREE.format(ldap=site.ldap, two_factor=site.two_factor) + "".join(people)
        machine.run(["slapadd", "-q", "-f", "/etc/ldap/slapd.conf"], user="openldap", text=tree)

    files.make_data_folder(machine.state / "srv" / "slapd", "openldap", fill)


def _user_entry(site: SiteDescription, user: SiteUser, machine: Machine) -> str:
    command = ["slappasswd", "-n", "-T", "/dev/stdin"]
    password_hash = machine.run(command, text=user.password)
    return _USER_ENTRY.format(user=user, ldap=site.ldap, hash=password_hash)


def _prepare_nslcd(machine: Machine) -> None:
    run = files.make_folder(machine.inside("/run/nslcd"), owner="nslcd")
    (run / "socket").unlink(missing_ok=True)
