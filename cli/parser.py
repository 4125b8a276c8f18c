"""The command line's arguments: each subcommand with its description and an example."""

from __future__ import annotations

import argparse
from typing import Any

from resop import __version__

UP = """\
Start the whole service on this machine: an embedded Valkey, one worker and the API, with SQLite
as the database. Needs CLUSTER_ADDRESS in config.env, or --demo. Runs until Ctrl-C; tasks and
tokens survive a restart."""
API = """\
Start one API process. With several machines, start one on each, with the same SECRET_KEY,
REDIS_URL and DATABASE_URL."""
WORKER = """\
Start one worker process, which runs the tasks of the named clusters (of all clusters if none is
named). Start as many as you need, with the same SECRET_KEY, REDIS_URL and DATABASE_URL."""
CHECK = """\
Read the settings, the policy and the operators, and report faults with file and line; of the
operators, all faults at once, and which shipped ones the site's extend. Starts nothing."""
DOCTOR = """\
Say what is weak in this configuration: passwords without encryption, files that others can read,
Redis without a password. Prints nothing and exits with 0 if nothing is."""
CONFIG = """\
Print the reference of all settings with their defaults, in the format of config.env. With NAME,
print that setting only."""
TABLES = """\
Create the database schema, or upgrade it to this version. The service does the same when it
starts; run this where the service's database user may not change tables."""
HEALTH = """\
Tell whether a worker of this machine is alive: each records a sign of life in the database every
ten seconds. The exit code is 0 if one is, else 1. For an API process there is GET /health/ready."""
AUDIT = """\
List the requests that changed or read something, or tried to; newest first. The subcommands verify
the log, export old entries to a file, and delete what was exported."""
AUDIT_VERIFY = """\
Tell whether entries of the audit log were changed, deleted, inserted or reordered, and name the
first in each chain. With FILE, also compare files written by AUDIT_FILE with the database. Needs
the service's SECRET_KEY. The exit code is 0 if nothing is wrong, else 1."""
AUDIT_EXPORT = """\
Write the entries from before DATE to a new file, as lines of JSON with their digests and a closing
line that proves the file complete. Chains that are broken are left out and named."""
AUDIT_PRUNE = """\
Delete the entries from before DATE, if a file of `resop audit export` with the same DATE has them.
The file is verified first. A mark stays, so that the rest of the log can still be verified."""
POLICY_CHECK = """\
Tell whether POLICY_FILE allows USER to run ACTION, and which rule decides. The exit code is 0 if
it does, else 1."""
KEYS = """\
List the users who are logged in, with the ID of each login. With --revoke, end logins: their
tokens are refused from then on, and everything that runs on them ends within seconds: tasks,
batches, transfers, event streams. A task that was cancelled names the reason."""
USERS = """\
Block a person: nobody can log in as that user any more, and the user's logins end with everything
that runs on them."""
BLOCK = """\
Refuse logins as NAME on CLUSTER from now on, and end the present ones with everything that runs on
them. Repeat it to change the reason. The operations suspend_user and delete_user of hpccenter block
users too."""
NEW = """\
Write an operator to begin with: a command, an operation, and scenarios that test both."""
TEST = """\
Play the scenarios of operators: tests/*.yml in the folder of each. Without FOLDER, those of all
operators in OPERATORS_PATH. Needs no cluster. The exit code is 0 if all pass, else 1."""
YAMLIZE = """\
Write an entry for commands.yml from the help text of a command. Read the result before you use
it: a help text does not say everything."""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; `arguments.command` is the name of the chosen subcommand."""
    parser = argparse.ArgumentParser(
        prog="resop",
        description="Turns a Linux cluster that is reachable over SSH into a JSON API.",
        epilog="Run `resop COMMAND --help` for a command's options and an example.",
    )
    parser.add_argument("--version", action="version", version=f"resop {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    _add_service(commands)
    _add_audit(commands)
    _add_policy(commands)
    _add_keys(commands)
    _add_users(commands)
    _add_authoring(commands)
    _add_yamlize(commands)
    return parser


def _add(commands: Any, name: str, summary: str, about: str, *examples: str) -> Any:
    lines = "\n".join(f"  {each}" for each in examples)
    return commands.add_parser(
        name,
        help=summary,
        description=about,
        epilog=f"{'examples' if len(examples) > 1 else 'example'}:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_service(commands: Any) -> None:
    up = _add(
        commands,
        "up",
        "start the whole service on this machine",
        UP,
        "resop up",
        "PORT=8080 resop up --demo",
        "resop up --reload",
    )
    up.add_argument(
        "--demo", action="store_true", help="start a demo login node if no cluster is configured"
    )
    up.add_argument(
        "--reload", action="store_true", help="load operators again when their files change"
    )
    _add(commands, "api", "start one API process", API, "PORT=8080 resop api")
    worker = _add(commands, "worker", "start one worker process", WORKER, "resop worker hpc")
    worker.add_argument("cluster", nargs="*", help="serve only these clusters")
    _add(
        commands,
        "check",
        "check the settings and the operators, start nothing",
        CHECK,
        "resop check",
    )
    _add(commands, "doctor", "say what is weak in the configuration", DOCTOR, "resop doctor")
    config = _add(
        commands,
        "config",
        "print the reference of all settings",
        CONFIG,
        "resop config >config.env",
        "resop config CLUSTER_ADDRESS",
    )
    config.add_argument("name", nargs="?", metavar="NAME", help="print this setting only")
    _add(commands, "tables", "create or upgrade the database schema", TABLES, "resop tables")
    health = _add(
        commands, "health", "tell whether a worker is alive", HEALTH, "resop health worker"
    )
    health.add_argument("part", choices=["worker"], help="the part of the service that is checked")


def _add_audit(commands: Any) -> None:
    audit = _add(
        commands,
        "audit",
        "list, verify, export or prune the audit log",
        AUDIT,
        "resop audit --user ada@hpc --since 2026-11-25T08:00",
        "resop audit --action 'slurm:*' --outcome refused --format csv >refused.csv",
    )
    audit.add_argument(
        "--user",
        metavar="NAME[@CLUSTER]",
        help="only requests of this user, and logins as this user",
    )
    audit.add_argument(
        "--action", metavar="OPERATOR:ACTION", help="only this action; '*' matches any text"
    )
    audit.add_argument(
        "--outcome", choices=["accepted", "done", "refused", "checked"], help="only this outcome"
    )
    audit.add_argument(
        "--task", metavar="ID", help="only entries of this task, and its item if it is in a batch"
    )
    audit.add_argument("--batch", metavar="ID", help="the entry of this batch, and all its items")
    audit.add_argument("--acting", action="store_true", help="without requests that only read")
    audit.add_argument(
        "--marks", action="store_true", help="with the log's own marks, such as checkpoints"
    )
    audit.add_argument(
        "--since", metavar="TIME", help="only entries from TIME on (ISO 8601; UTC without a zone)"
    )
    audit.add_argument("--until", metavar="TIME", help="only entries before TIME")
    audit.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="maximum number of entries (default: 50 for text, otherwise all)",
    )
    audit.add_argument("--before", metavar="ID", help="continue a listing before this entry")
    audit.add_argument(
        "--format",
        choices=["text", "ndjson", "csv"],
        default="text",
        help="output format (default: text)",
    )
    actions = audit.add_subparsers(
        metavar="COMMAND", dest="audit_command", help="without one, entries are listed"
    )
    verify = _add(
        actions,
        "verify",
        "tell whether the log was changed",
        AUDIT_VERIFY,
        "resop audit verify",
        "resop audit verify /var/log/resop/audit.ndjson",
    )
    verify.add_argument("file", nargs="*", metavar="FILE", help="a file written by AUDIT_FILE")
    export = _add(
        actions,
        "export",
        "write old entries to a file",
        AUDIT_EXPORT,
        "resop audit export --before 2026-01-01 --to audit-2025.ndjson",
    )
    export.add_argument("--before", metavar="DATE", required=True, help="entries from before DATE")
    export.add_argument("--to", metavar="FILE", required=True, help="the new file")
    prune = _add(
        actions,
        "prune",
        "delete old entries that were exported",
        AUDIT_PRUNE,
        "resop audit prune --before 2026-01-01",
    )
    prune.add_argument("--before", metavar="DATE", required=True, help="the DATE of the export")
    prune.add_argument("--file", metavar="FILE", help="the exported file, if it was moved")


def _add_policy(commands: Any) -> None:
    about = "Explain what POLICY_FILE allows."
    example = "resop policy check ada slurm:submit --group physics"
    policy = _add(commands, "policy", "explain what the policy allows", about, example)
    policies = policy.add_subparsers(required=True, metavar="COMMAND", dest="policy_command")
    check = _add(policies, "check", "tell whether USER may run ACTION", POLICY_CHECK, example)
    check.add_argument(
        "user", metavar="USER", help="name@cluster; with one cluster, the name is enough"
    )
    check.add_argument("action", metavar="ACTION", help="operator:action, such as core:run")
    check.add_argument(
        "--group",
        action="append",
        default=[],
        help="a group of USER on the cluster; repeat the option for several",
    )


def _add_keys(commands: Any) -> None:
    keys = _add(
        commands,
        "keys",
        "list or end logins",
        KEYS,
        "resop keys --user ada",
        "resop keys --user ada@hpc --revoke",
        "resop keys --krl >serials && ssh-keygen -k -f revoked.krl -s ca.pub serials",
    )
    keys.add_argument(
        "--user", metavar="NAME[@CLUSTER]", help="only logins of this user (on every cluster)"
    )
    keys.add_argument(
        "--revoke",
        nargs="*",
        metavar="ID",
        help="end these logins; without an ID, all logins of --user",
    )
    keys.add_argument(
        "--keep-running",
        action="store_true",
        help="with --revoke: let the tasks of these logins continue",
    )
    keys.add_argument(
        "--krl",
        action="store_true",
        help="print the serials of revoked certificates, for ssh-keygen -k",
    )


def _add_users(commands: Any) -> None:
    example = "resop users block ada@hpc --reason compromised"
    users = _add(
        commands,
        "users",
        "block people, and lift blocks",
        USERS,
        example,
        "resop users list",
        "resop users unblock ada@hpc",
    )
    actions = users.add_subparsers(
        required=True, metavar="COMMAND", dest="users_command", help="block, unblock or list"
    )
    block = _add(actions, "block", "refuse a user, and end the user's logins", BLOCK, example)
    block.add_argument("name", metavar="NAME@CLUSTER", help="the user and the cluster")
    block.add_argument("--reason", required=True, help="why; the user sees it")
    about = "Let a blocked user log in again."
    example = "resop users unblock ada@hpc"
    unblock = _add(actions, "unblock", "let a blocked user log in again", about, example)
    unblock.add_argument("name", metavar="NAME@CLUSTER", help="the user and the cluster")
    about = "List the blocked users, since when, by whom and why."
    _add(actions, "list", "list the blocked users", about, "resop users list")


def _add_authoring(commands: Any) -> None:
    example = "resop new operator mysite --in site/operators"
    new = _add(commands, "new", "write a new operator to begin with", NEW, example)
    kinds = new.add_subparsers(required=True, metavar="KIND", dest="kind", help="operator")
    operator = _add(kinds, "operator", "write a new operator", NEW, example)
    operator.add_argument("name", metavar="NAME", help="letters, digits and '_'")
    operator.add_argument(
        "--in",
        dest="folder",
        default=".",
        metavar="FOLDER",
        help="the folder above it (default: .)",
    )
    about = "play the scenarios of your own operators"
    test = _add(commands, "test", about, TEST, "resop test", "resop test site/operators/mysite")
    test.add_argument("folder", nargs="*", metavar="FOLDER", help="the folder of an operator")


def _add_yamlize(commands: Any) -> None:
    yamlize = _add(
        commands,
        "yamlize",
        "write a commands.yml entry from a command's --help",
        YAMLIZE,
        "resop yamlize rsync >>mysite/commands.yml",
        "resop yamlize --on hpc git log",
    )
    yamlize.add_argument(
        "--on",
        metavar="[USER@]HOST",
        help="run it there, by ssh: a host, or a cluster of config.env",
    )
    yamlize.add_argument(
        "--from", dest="file", metavar="FILE", help="read the help text from FILE; - is stdin"
    )
    yamlize.add_argument("program", metavar="COMMAND")
    yamlize.add_argument("subcommand", nargs="*", metavar="SUBCOMMAND")
