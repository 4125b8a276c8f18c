"""The machine's /etc: a copy of the host's without its people, hashes and keys, and then our own.

NSS asks LDAP after the files, PAM of sshd likewise, and the administrator may use sudo for little.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from testbed.files import write
from testbed.site import SiteDescription

_PEOPLE = range(1000, 60000)  # of Debian's numbers; packages have those below and above

_NSSWITCH = """\
passwd: files ldap
group: files ldap
shadow: files
gshadow: files
hosts: files dns
networks: files
protocols: files
services: files
"""

# Without pam_faildelay (2-4 s per wrong password), and without pam_limits, pam_loginuid and the
# like, which fail in containers. Of the two-factor group a one-time code is asked for besides.
_PAM_SSHD = """\
auth     [success=1 default=ignore] pam_unix.so nodelay
auth     requisite pam_ldap.so use_first_pass minimum_uid=1000
auth     [success=1 default=ignore] pam_succeed_if.so quiet user notingroup mfa
auth     requisite pam_google_authenticator.so secret=/etc/totp/${USER} user=root no_increment_hotp
auth     required pam_permit.so
account  [success=1 default=ignore] pam_localuser.so
account  [success=done default=die] pam_ldap.so minimum_uid=1000
account  required pam_unix.so
session  required pam_mkhomedir.so skel=/etc/skel umask=0077
password required pam_deny.so
"""

_SUDOERS = """\
Defaults env_reset, secure_path="/usr/sbin:/usr/bin:/sbin:/bin"
Defaults:{admin} !requiretty, env_keep += "SLURM_CONF PGPORT"
root ALL=(ALL:ALL) ALL
{admin} ALL=(root) NOPASSWD: {commands}
{admin} ALL=(postgres) NOPASSWD: /usr/bin/psql
"""
_ADMIN_COMMANDS = (
    *("sbin/useradd", "sbin/usermod", "sbin/userdel", "sbin/groupadd", "sbin/groupmod"),
    *("sbin/groupdel", "sbin/chpasswd", "bin/passwd"),
)


def prepare(site: SiteDescription) -> None:
    """Make the folder, once, and write the files that are our own, at every start."""
    etc = site.state / "etc"
    if not etc.exists():
        _copy(site, etc)
    write(etc / "nsswitch.conf", _NSSWITCH)
    write(etc / "hosts", f"127.0.0.1 localhost {site.hostname}\n::1 localhost\n")
    write(etc / "hostname", f"{site.hostname}\n")
    write(etc / "pam.d" / "sshd", _PAM_SSHD)
    commands = ", ".join(f"/usr/{command}" for command in _ADMIN_COMMANDS)
    sudoers = _SUDOERS.format(admin=site.admin.name, commands=commands)
    write(etc / "sudoers", sudoers, mode=0o440)
    user = site.two_factor
    # the secret, and how it is used; the module keeps its notes in this file, too
    secret = f'{user.totp_secret}\n" WINDOW_SIZE 3\n" TOTP_AUTH\n'
    write(etc / "totp" / user.name, secret, mode=0o600)


def _copy(site: SiteDescription, etc: Path) -> None:
    # An interrupted copy must not pass for a whole one, and its cp may still be at work.
    for left in etc.parent.glob("etc.*"):
        shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix="etc.", dir=etc.parent))
    subprocess.run(["cp", "-a", "/etc/.", str(part)], check=True)
    for key in (part / "ssh").glob("ssh_host_*"):
        key.unlink()
    for extra in (part / "sudoers.d").glob("*"):
        extra.unlink()
    _write_accounts(site, part)
    part.rename(etc)


def _write_accounts(site: SiteDescription, etc: Path) -> None:
    """System accounts and the administrator; people of the host would hide those of LDAP."""
    admin = site.admin
    passwd = [line for line in _lines(etc / "passwd") if _is_system(line)]
    group = [line for line in _lines(etc / "group") if _is_system(line)]
    passwd.append(
        f"{admin.name}:x:{admin.uid}:{admin.uid}:HPC administrator:/home/{admin.name}:/bin/bash"
    )
    group.append(f"{admin.name}:x:{admin.uid}:")
    # no hash of the host's comes along: nobody but the administrator has a password
    shadow = [f"{line.split(':')[0]}:*:19000:0:99999:7:::" for line in passwd[:-1]]
    shadow.append(f"{admin.name}:{_hash(admin.password)}:19000:0:99999:7:::")
    gshadow = [f"{line.split(':')[0]}:*::" for line in group]
    write(etc / "passwd", "\n".join([*passwd, ""]))
    write(etc / "group", "\n".join([*group, ""]))
    write(etc / "shadow", "\n".join([*shadow, ""]), mode=0o640)
    write(etc / "gshadow", "\n".join([*gshadow, ""]), mode=0o640)
    for backup in etc.glob("*-"):  # of passwd and the like, with the hashes
        backup.unlink()


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def _is_system(line: str) -> bool:
    fields = line.split(":")
    return len(fields) > 3 and int(fields[2]) not in _PEOPLE


def _hash(password: str) -> str:
    command = ["openssl", "passwd", "-6", "-stdin"]
    result = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
    return result.stdout.strip()
