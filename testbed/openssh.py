"""The login node's sshd: passwords, keys, certificates of a user CA, one-time codes."""

import re
import shutil
import subprocess
from pathlib import Path

from testbed import files
from testbed.daemon import Daemon
from testbed.machine import Machine
from testbed.site import SiteDescription, SiteUser

_HOST_KEY_TYPES = ("ed25519", "ecdsa")

# Typical of a login node; limits that applications notice have OpenSSH's default values.
_SSHD_CONFIG = """\
Port {ssh.port}
ListenAddress {ssh.host}
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
PidFile none
UsePAM yes
PermitRootLogin no
PasswordAuthentication yes
KbdInteractiveAuthentication yes
PubkeyAuthentication yes
TrustedUserCAKeys /etc/ssh/user_ca.pub
MaxSessions 10
MaxStartups 10:30:100
UseDNS no
PrintMotd no
PrintLastLog no
AcceptEnv LANG LC_*
SetEnv SLURM_CONF=/etc/slurm/slurm.conf PGPORT={postgresql.port}
Subsystem sftp /usr/lib/openssh/sftp-server
LogLevel VERBOSE
{further}Match Group mfa
    AuthenticationMethods keyboard-interactive publickey,keyboard-interactive
"""

# All logins come from one address, and some are wrong on purpose.
_NO_PENALTIES = "PerSourcePenalties no\n"
_FIRST_WITH_PENALTIES = (9, 8)


def prepare(site: SiteDescription) -> None:
    """Make missing keys and homes, write the configuration and known_hosts."""
    ssh = site.state / "etc" / "ssh"
    further = _NO_PENALTIES if _version() >= _FIRST_WITH_PENALTIES else ""
    config = _SSHD_CONFIG.format(ssh=site.ssh, postgresql=site.postgresql, further=further)
    files.write_file(ssh / "sshd_config", config)
    address = f"[{site.ssh.host}]:{site.ssh.port}"
    known_hosts = ""
    for kind in _HOST_KEY_TYPES:
        public = _key_pair(ssh / f"ssh_host_{kind}_key", kind)
        known_hosts += f"{address} {' '.join(public.split()[:2])}\n"
    files.write_file(site.ssh.known_hosts, known_hosts)
    files.write_file(ssh / "user_ca.pub", _key_pair(site.ssh.user_ca))
    for user in site.all_users:
        public = _key_pair(user.key)
        home = site.state / "home" / user.name
        if not home.exists():
            _make_home(home, user, site.ldap.gid if user != site.admin else user.uid, public)


def daemons(site: SiteDescription) -> list[Daemon]:
    """Return sshd."""
    return [
        Daemon(
            name="sshd",
            command=("/usr/sbin/sshd", "-D", "-e"),
            ready=("ssh-keyscan", "-T", "2", "-p", str(site.ssh.port), site.ssh.host),
            # sshd looks up the user's groups at each login
            needs=("nslcd",),
            prepare=_prepare,
        )
    ]


def _prepare(machine: Machine) -> None:
    files.make_folder(machine.inside("/run/sshd"))


def _version() -> tuple[int, int]:
    """Return OpenSSH's version."""
    command = ["/usr/sbin/sshd", "-V"]  # to 9.2 an unknown option, and so an error
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    found = re.search(r"\bOpenSSH_([0-9]+)\.([0-9]+)", said)
    if found is None:
        raise RuntimeError(f"sshd does not show its version: {said}")
    return int(found[1]), int(found[2])


def _key_pair(private: Path, kind: str = "ed25519") -> str:
    """Make the key pair if it is missing, and return the public key."""
    files.make_folder(private.parent)
    if not private.exists():
        command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", private.name, "-f", str(private)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return private.with_name(f"{private.name}.pub").read_text()


def _make_home(home: Path, user: SiteUser, gid: int, public_key: str) -> None:
    """Make the home of an initial user; other users get theirs at their first login."""
    part = home.with_name(f"{home.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree("/etc/skel", part, symlinks=True)
    part.chmod(0o700)
    (part / ".ssh").mkdir(mode=0o700)
    keys = part / ".ssh" / "authorized_keys"
    keys.write_text(public_key)
    keys.chmod(0o600)
    files.change_owner_recursively(part, user.uid, gid)
    part.rename(home)
