"""The programs and permissions that the testbed needs on its machine."""

import os
import shutil
from pathlib import Path

_PROGRAMS = (
    *("munged", "slurmctld", "slurmdbd", "slurmd", "sbatch"),
    *("slapd", "ldapadd", "nslcd", "mariadbd", "psql", "sshd", "sudo", "oathtool"),
    *("bash", "mount", "nsenter", "openssl", "setpriv", "ssh-keygen", "ssh-keyscan", "unshare"),
)
_LIBRARIES = (
    "*/libnss_ldap.so.2",
    "*/security/pam_ldap.so",
    "*/security/pam_google_authenticator.so",
    "postgresql/*/bin/postgres",
)


def find_problem() -> str | None:
    """Return the reason why the testbed cannot run on this machine, or None."""
    if os.geteuid() != 0:
        return "run the testbed as root: it needs namespaces, and daemons that change their user"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [program for program in _PROGRAMS if shutil.which(program, path=path) is None]
    missing += [name for name in _LIBRARIES if not any(Path("/usr/lib").glob(name))]
    if not missing:
        return None
    return f"missing: {', '.join(missing)}; to install them: scripts/packages testbed"
