"""What a machine must have to carry the testbed."""

import os
import shutil
from pathlib import Path

_PROGRAMS = (
    *("munged", "slurmctld", "slurmdbd", "slurmd", "sbatch"),
    *("slapd", "ldapadd", "nslcd", "mariadbd", "psql", "sshd", "sudo", "oathtool"),
    *("bash", "mount", "nsenter", "openssl", "setpriv", "ssh-keygen", "unshare"),
)
_LIBRARIES = (
    "*/libnss_ldap.so.2",
    "*/security/pam_ldap.so",
    "*/security/pam_google_authenticator.so",
    "postgresql/*/bin/postgres",
)


def lack() -> str | None:
    """What is missing, None if nothing is."""
    if os.geteuid() != 0:
        return "the testbed needs root: for namespaces, and for daemons that change their user"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [program for program in _PROGRAMS if shutil.which(program, path=path) is None]
    missing += [name for name in _LIBRARIES if not any(Path("/usr/lib").glob(name))]
    return f"missing: {', '.join(missing)} (see scripts/packages testbed)" if missing else None
