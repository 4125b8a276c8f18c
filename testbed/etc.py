"""The machine's /etc: a copy of the host's without its users, hashes and keys, plus our own files.

NSS and sshd's PAM stack look users up in the files, then in LDAP. The administrator may run a few
commands with sudo.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from testbed.files import write_file
from testbed.site import SiteDescription

_USER_IDS = range(1000, 60000)  # Debian's range for users; packages use IDs below and above

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
# like, which fail in containers. Members of the two-factor group also need a one-time code.
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
    """Make the folder at the first start, and write our own files at every start."""
    etc = site.state / "etc"
    if not etc.exists():
        _copy(site, etc)
    write_file(etc / "nsswitch.conf", _NSSWITCH)
    write_file(etc / "hosts", f"127.0.0.1 localhost {site.hostname}\n::1 localhost\n")
    write_file(etc / "hostname", f"{site.hostname}\n")
    write_file(etc / "pam.d" / "sshd", _PAM_SSHD)
    commands = ", ".join(f"/usr/{command}" for command in _ADMIN_COMMANDS)
    sudoers = _SUDOERS.format(admin=site.admin.name, commands=commands)
    write_file(etc / "sudoers", sudoers, mode=0o440)
    user = site.two_factor
    # The secret and its options; the PAM module also stores its state in this file.
    secret = f'{user.totp_secret}\n" WINDOW_SIZE 3\n" TOTP_AUTH\n'
    write_file(etc / "totp" / user.name, secret, mode=0o600)


def _copy(site: SiteDescription, etc: Path) -> None:
    # An interrupted copy must not be taken for a complete one, and its cp may still be running.
    for stale in etc.parent.glob("etc.*"):
        shutil.rmtree(stale, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix="etc.", dir=etc.parent))
    subprocess.run(["cp", "-a", "/etc/.", str(part)], check=True)
    for key in (part / "ssh").glob("ssh_host_*"):
        key.unlink()
    for extra in (part / "sudoers.d").glob("*"):
        extra.unlink()
    _write_accounts(site, part)
    part.rename(etc)


def _write_accounts(site: SiteDescription, etc: Path) -> None:
    """Write system accounts and the administrator; the host's users would hide LDAP's."""
    admin = site.admin
    passwd = [line for line in _lines(etc / "passwd") if _is_system(line)]
    group = [line for line in _lines(etc / "group") if _is_system(line)]
    passwd.append(
        f"{admin.name}:x:{admin.uid}:{admin.uid}:HPC administrator:/home/{admin.name}:/bin/bash"
    )
    group.append(f"{admin.name}:x:{admin.uid}:")
    # Copy no hash from the host: of the local accounts only the administrator has a password.
    shadow = [f"{line.split(':')[0]}:*:19000:0:99999:7:::" for line in passwd[:-1]]
    shadow.append(f"{admin.name}:{_hash(admin.password)}:19000:0:99999:7:::")
    gshadow = [f"{line.split(':')[0]}:*::" for line in group]
    write_file(etc / "passwd", "\n".join([*passwd, ""]))
    write_file(etc / "group", "\n".join([*group, ""]))
    write_file(etc / "shadow", "\n".join([*shadow, ""]), mode=0o640)
    write_file(etc / "gshadow", "\n".join([*gshadow, ""]), mode=0o640)
    for backup in etc.glob("*-"):  # of passwd and the like, including hashes
        backup.unlink()


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def _is_system(line: str) -> bool:
    fields = line.split(":")
    return len(fields) > 3 and int(fields[2]) not in _USER_IDS


def _hash(password: str) -> str:
    command = ["openssl", "passwd", "-6", "-stdin"]
    result = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
    return result.stdout.strip()
