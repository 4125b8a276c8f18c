"""The portal's table `users` in PostgreSQL, by psql on the login node.

Settings: PORTAL_DATABASE (a connection string without password, such as `host=… dbname=portal
user=portal`) and PORTAL_PASSWORD.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from resop import DaemonAway, Result, Secret, Shell
from resop.errors import OperationFailed

SECONDS = 60.0
# Standard input is the password. The query, which holds no value, is the word behind the script.
CONNECTED = 'IFS= read -r PGPASSWORD; export PGPASSWORD; printf "%s\\n" "$0" | psql "$@"'
FLAGS = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1")

# psql quotes a value where it stands as :'name'.
INSERT = "insert into users (username, email, full_name) values (:'username', :'email', :'name');"
DELETE = "delete from users where username = :'username' returning username;"
FIND = "select enabled from users where username = :'username';"
ENABLE = "update users set enabled = :'enabled' where username = :'username';"


def add(shell: Shell, username: str, email: str, full_name: str) -> None:
    """Add a person; registered to be undone."""
    with _undone_by(shell, DELETE, username=username):
        _run(shell, INSERT, username=username, email=email, name=full_name)
    shell.log(f"{username} is in the portal")


def delete(shell: Shell, username: str) -> bool:
    """Delete a person; False when there was none."""
    deleted = bool(_run(shell, DELETE, username=username).lines)
    if deleted:
        shell.log(f"{username} is no longer in the portal")
    return deleted


def enable(shell: Shell, username: str, enabled: bool) -> bool:
    """Let a person use the portal or not, registered to be undone; False when there is none."""
    found = _run(shell, FIND, username=username).lines
    if found:
        with _undone_by(shell, ENABLE, username=username, enabled=found[0]):
            _run(shell, ENABLE, username=username, enabled=str(enabled).lower())
        shell.log(f"{username} can{'' if enabled else ' no longer'} use the portal")
    return bool(found)


def _run(shell: Shell, query: str, **values: str) -> Result:
    argv, given = _step(shell, query, values)
    result = shell.run(*argv, input=given, timeout=SECONDS, check=False)
    if "connection to server" in result.stderr:
        said = result.stderr.strip().splitlines()[0]
        if "FATAL" in said:
            raise OperationFailed(f"the portal's database refuses the service: {said}")
        raise DaemonAway(f"PostgreSQL is away: {said}", daemon="PostgreSQL")
    if result.exit_code != 0:
        raise result.failure()
    return result


def _undone_by(shell: Shell, query: str, **values: str) -> AbstractContextManager[None]:
    argv, given = _step(shell, query, values)
    return shell.undone_by(*argv, input=given)


def _step(shell: Shell, query: str, values: dict[str, str]) -> tuple[list[str], list[str | Secret]]:
    bound = [f"--set={name}={value}" for name, value in values.items()]
    where = f"--dbname={shell.setting('PORTAL_DATABASE')}"
    argv = ["sh", "-c", CONNECTED, query, *FLAGS, where, *bound]
    return argv, [shell.secret("PORTAL_PASSWORD"), "\n"]
