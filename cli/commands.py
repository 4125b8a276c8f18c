"""The subcommands of `resop`, by name, and how their faults are reported."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cli.parser import make_parser
from resop.errors import ServiceError, SetupError
from resop.security.identity import Identity

OWN_PACKAGES = ("resop", "api", "worker", "operators", "cli")


def run() -> None:
    """Run the command line; each fault in the set-up becomes one line, and the exit code is 1."""
    arguments = make_parser().parse_args()
    try:
        COMMANDS[arguments.command](arguments)
    except (SetupError, ServiceError) as fault:
        sys.exit(fault.lines("resop"))
    except ModuleNotFoundError as fault:
        package = (fault.name or "").partition(".")[0]
        if package in OWN_PACKAGES:
            raise
        sys.exit(
            f"resop: 'resop {arguments.command}' needs {package}, which is not installed: "
            "pip install 'resop[server]'"
        )


# Imports are local to each command: they take seconds, and most need the extra `server`.


def _up(arguments: argparse.Namespace) -> None:
    from cli.supervisor import up
    from resop.config.settings import load_settings

    up(load_settings(), demo=arguments.demo, reload=arguments.reload)


def _api(arguments: argparse.Namespace) -> None:
    from api.main import main as serve

    signal.signal(signal.SIGINT, signal.default_int_handler)  # uvicorn relies on it
    serve()


def _worker(arguments: argparse.Namespace) -> None:
    from worker.main import main as work

    work(arguments.cluster)


def _check(arguments: argparse.Namespace) -> None:
    from resop.access.permissions import check_policy
    from resop.access.policy_warnings import warnings
    from resop.actions.author_warnings import find_warnings
    from resop.actions.catalog import load_catalog
    from resop.config.settings import load_settings

    settings = load_settings()
    catalog = load_catalog(settings.operator_folders)
    check_policy(settings.policy(), catalog)
    policy_warnings = warnings(settings.policy(), catalog, settings.clusters())
    for warning in (*policy_warnings, *find_warnings(catalog, settings.operator_folders)):
        print(f"warning: {warning}", file=sys.stderr)
    for notice in catalog.notices:
        print(f"note: {notice}", file=sys.stderr)
    clusters = ", ".join(settings.clusters()) or "none configured"
    print(f"clusters: {clusters}")
    for operator in catalog.operators.values():
        extension = f", extended by {operator.extension}" if operator.extension else ""
        print(
            f"{operator.name}: {len(operator.commands)} commands, "
            f"{len(operator.operations)} operations ({operator.folder}{extension})"
        )


def _doctor(arguments: argparse.Namespace) -> None:
    from cli.database_server import find_server_weaknesses
    from resop.access.policy_warnings import warnings
    from resop.actions.catalog import load_catalog
    from resop.config.settings import load_settings
    from resop.config.weaknesses import find_weaknesses

    settings = load_settings()
    catalog = load_catalog(settings.operator_folders)
    policy_warnings = warnings(settings.policy(), catalog, settings.clusters())
    weaknesses = [
        *find_weaknesses(settings),
        *find_server_weaknesses(settings),
        *policy_warnings,
    ]
    for sentence in weaknesses:
        print(sentence)
    sys.exit(bool(weaknesses))


def _config(arguments: argparse.Namespace) -> None:
    from cli.config import reference

    print(reference(arguments.name), end="")


def _tables(arguments: argparse.Namespace) -> None:
    from resop.config.data_folder import prepare_data_folder
    from resop.config.hardening import harden_process
    from resop.config.settings import load_settings
    from resop.storage.database import Database

    harden_process()
    settings = load_settings()
    if settings.DATABASE_URL is None:
        prepare_data_folder(settings.DATA_DIR)
    with contextlib.closing(Database(settings.database_url)) as database:
        database.create_tables()


def _health(arguments: argparse.Namespace) -> None:
    from cli.health import check_worker
    from resop.config.settings import load_settings

    check_worker(load_settings())


def _audit(arguments: argparse.Namespace) -> None:
    from cli import audit_chains
    from cli.audit import audit
    from resop.config.settings import load_settings

    commands = {
        None: audit,
        "verify": audit_chains.verify,
        "export": audit_chains.export,
        "prune": audit_chains.prune_exported,
    }
    commands[arguments.audit_command](load_settings(), arguments)


def _policy(arguments: argparse.Namespace) -> None:
    from resop.access.permissions import check_policy, governed_actions
    from resop.access.policy_warnings import shell_warning
    from resop.actions.catalog import load_catalog
    from resop.config.settings import load_settings

    settings = load_settings()
    catalog, clusters = load_catalog(settings.operator_folders), list(settings.clusters())
    policy, actions = settings.policy(), governed_actions(catalog)
    check_policy(policy, catalog)
    identity = _identity(arguments.user, clusters)
    if arguments.action not in actions:
        raise SetupError(
            f"there is no action {arguments.action!r} that a policy could allow: "
            "write OPERATOR:ACTION, such as core:run"
        )
    decision = policy.decide(arguments.action, identity, arguments.group)
    verdict = "allowed" if decision.allowed else "denied"
    print(f"{verdict}: {f'{decision.place}: ' if decision.place else ''}{decision.reason}")
    if warning := shell_warning(policy, catalog, identity, arguments.group):
        print(f"warning: {warning}", file=sys.stderr)
    sys.exit(not decision.allowed)


def _identity(user: str, clusters: Sequence[str]) -> Identity:
    """Return `name@cluster`; with one cluster, the name is enough."""
    identity = Identity.parse(user)
    if identity is not None and identity.cluster in clusters:
        return identity
    if len(clusters) > 1:
        raise SetupError(
            f"USER: {user!r} names no cluster: write "
            f"{' or '.join(f'{user}@{each}' for each in clusters)}"
        )
    return Identity(user, clusters[0] if clusters else "")


def _keys(arguments: argparse.Namespace) -> None:
    from cli.keys import list_keys, print_revoked_certificates, revoke_keys
    from resop.config.settings import load_settings

    if arguments.krl:
        print_revoked_certificates(load_settings())
    elif arguments.revoke is None:
        list_keys(load_settings(), arguments.user)
    elif arguments.revoke or arguments.user:
        revoke_keys(
            load_settings(),
            arguments.revoke,
            arguments.user,
            keep_running=arguments.keep_running,
        )
    else:
        raise SetupError("--revoke needs the IDs of logins, or --user")


def _users(arguments: argparse.Namespace) -> None:
    from cli.users import block_user, list_blocked, unblock_user
    from resop.config.settings import load_settings

    match arguments.users_command:
        case "block":
            block_user(load_settings(), arguments.name, arguments.reason)
        case "unblock":
            unblock_user(load_settings(), arguments.name)
        case _:
            list_blocked(load_settings())


def _new(arguments: argparse.Namespace) -> None:
    from cli.new_operator import new_operator

    folder = Path(arguments.folder)
    for file in new_operator(arguments.name, folder):
        print(f"wrote {file}")
    print(
        f"\nNext:\n  resop test {folder / arguments.name}\n"
        f"  OPERATORS_PATH={folder.absolute()} resop check"
    )


def _test(arguments: argparse.Namespace) -> None:
    from cli.play_scenarios import operator_folders, play_scenarios

    folders = [Path(each) for each in arguments.folder]
    if not folders:
        from resop.config.settings import load_settings

        folders = operator_folders(load_settings().operator_folders)
    sys.exit(not play_scenarios(folders))


def _yamlize(arguments: argparse.Namespace) -> None:
    from cli.yamlize import read_help, yamlize

    subcommand = " ".join(arguments.subcommand)
    text = read_help([arguments.program, *arguments.subcommand], arguments.on, arguments.file)
    print(yamlize(arguments.program, subcommand, text), end="")


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "up": _up,
    "api": _api,
    "worker": _worker,
    "check": _check,
    "config": _config,
    "doctor": _doctor,
    "tables": _tables,
    "health": _health,
    "audit": _audit,
    "policy": _policy,
    "keys": _keys,
    "users": _users,
    "new": _new,
    "test": _test,
    "yamlize": _yamlize,
}
