"""What the console program can do: up, api, worker, check, tables, keys, audit, policy, yamlize."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys

from resop import __version__
from resop.config.settings import load_settings
from resop.errors import ServiceError, SetupError


def run() -> None:
    """Do what the command line says; a fault in the set-up is one clear line and exit code 1."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except (SetupError, ServiceError) as fault:
        sys.exit(f"resop: {fault.message}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="resop", description="remote shell operations over HTTP")
    parser.add_argument("--version", action="version", version=f"resop {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    whole = commands.add_parser("up", help="the whole service on this one machine")
    whole.add_argument(
        "--demo", action="store_true", help="with a demo login node if no cluster is configured"
    )
    whole.set_defaults(run=_up)
    api = commands.add_parser("api", help="one API process")
    api.set_defaults(run=_api)
    worker = commands.add_parser("worker", help="one worker process")
    worker.add_argument("cluster", nargs="*", help="serve only these clusters")
    worker.set_defaults(run=_worker)
    check = commands.add_parser("check", help="read the settings and the operators, start nothing")
    check.set_defaults(run=_check)
    tables = commands.add_parser("tables", help="make or upgrade the tables of the database")
    tables.set_defaults(run=_tables)
    audit = commands.add_parser("audit", help="list or export the requests that acted")
    _add_audit_options(audit)
    audit.set_defaults(run=_audit)
    policy = commands.add_parser("policy", help="explain what the policy says")
    asked = policy.add_subparsers(required=True, metavar="COMMAND")
    may = asked.add_parser("check", help="may USER run ACTION? exit code 1 when not")
    may.add_argument("user", metavar="USER")
    may.add_argument("action", metavar="ACTION", help="operator:action, such as core:run")
    may.add_argument(
        "--group", action="append", default=[], help="one that USER has on the cluster; repeat it"
    )
    may.set_defaults(run=_policy_check)
    keys = commands.add_parser("keys", help="who is logged in; end logins")
    keys.add_argument("--user", help="of this user alone")
    keys.add_argument(
        "--revoke", nargs="*", metavar="ID", help="end these; all of the user when none is named"
    )
    keys.set_defaults(run=_keys)
    yamlize = commands.add_parser("yamlize", help="a commands.yml entry out of a command's --help")
    yamlize.add_argument(
        "--on", metavar="[USER@]HOST", help="ask there by ssh: a cluster's name too"
    )
    yamlize.add_argument(
        "--from", dest="file", metavar="FILE", help="read its help text; - is stdin"
    )
    yamlize.add_argument("program", metavar="COMMAND")
    yamlize.add_argument("subcommand", nargs="*", metavar="SUBCOMMAND")
    yamlize.set_defaults(run=_yamlize)
    return parser


def _add_audit_options(audit: argparse.ArgumentParser) -> None:
    audit.add_argument("--user", help="who asked; of a login, who it was for")
    audit.add_argument("--action", metavar="OPERATOR:ACTION", help="'*' stands for any text")
    audit.add_argument("--outcome", choices=["accepted", "done", "refused"])
    audit.add_argument("--task", metavar="ID", help="the request that made it")
    audit.add_argument("--since", metavar="TIME", help="ISO 8601; UTC where it names no zone")
    audit.add_argument("--until", metavar="TIME", help="and before that")
    audit.add_argument("--limit", type=int, metavar="N", help="so many; 50 as text, else all")
    audit.add_argument("--before", metavar="ID", help="go on where a list ended")
    audit.add_argument("--format", choices=["text", "ndjson", "csv"], default="text")


# Each part is imported only where it is run: it takes its time, and its settings at once.


def _up(arguments: argparse.Namespace) -> None:
    from cli.supervisor import up

    up(load_settings(), demo=arguments.demo)


def _api(arguments: argparse.Namespace) -> None:
    from api.main import main as serve

    signal.signal(signal.SIGINT, signal.default_int_handler)  # uvicorn counts on it
    serve()


def _worker(arguments: argparse.Namespace) -> None:
    from worker.main import main as work

    work(arguments.cluster)


def _check(arguments: argparse.Namespace) -> None:
    from resop.access.permissions import governed_actions
    from resop.actions.catalog import load_catalog

    settings = load_settings()
    catalog = load_catalog(settings.operator_folders)
    settings.policy().check_names(governed_actions(catalog))
    clusters = ", ".join(settings.clusters()) or "none configured"
    print(f"clusters: {clusters}")
    for operator in catalog.operators.values():
        print(
            f"{operator.name}: {len(operator.commands)} commands, "
            f"{len(operator.operations)} operations ({operator.folder})"
        )


def _tables(arguments: argparse.Namespace) -> None:
    from resop.storage.tasks import Records

    with contextlib.closing(Records(load_settings().database_url)) as records:
        records.create_tables()


def _audit(arguments: argparse.Namespace) -> None:
    from cli.audit import audit

    audit(load_settings(), arguments)


def _policy_check(arguments: argparse.Namespace) -> None:
    from resop.access.permissions import governed_actions
    from resop.actions.catalog import load_catalog

    settings = load_settings()
    policy, actions = settings.policy(), governed_actions(load_catalog(settings.operator_folders))
    policy.check_names(actions)
    if arguments.action not in actions:
        raise SetupError(f"there is no action {arguments.action!r} that a policy is about")
    decision = policy.decide(arguments.action, arguments.user, arguments.group)
    word = "allowed" if decision.allowed else "denied"
    print(f"{word}: {f'{decision.place}: ' if decision.place else ''}{decision.reason}")
    sys.exit(not decision.allowed)


def _keys(arguments: argparse.Namespace) -> None:
    from cli.keys import list_keys, revoke_keys

    settings = load_settings()
    if arguments.revoke is None:
        list_keys(settings, arguments.user)
    elif arguments.revoke or arguments.user:
        revoke_keys(settings, arguments.revoke, arguments.user)
    else:
        sys.exit("resop: name the ids to revoke, or a --user")


def _yamlize(arguments: argparse.Namespace) -> None:
    from cli.yamlize import read_help, yamlize

    subcommand = " ".join(arguments.subcommand)
    text = read_help([arguments.program, *arguments.subcommand], arguments.on, arguments.file)
    print(yamlize(arguments.program, subcommand, text), end="")
