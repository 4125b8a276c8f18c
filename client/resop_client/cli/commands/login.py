"""Log in, log out, and show who is logged in."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys

import click

from resop_client import errors
from resop_client._sync.client import Resop
from resop_client.cli.command import Command
from resop_client.cli.human import moment
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.cli.schema_cache import SchemaCache
from resop_client.connection_choice import choose_profile
from resop_client.device_code import DeviceCode
from resop_client.login_store import Login

MAX_CODES = 3


@click.command(cls=Command)
@click.argument("url", required=False)
@click.option("-u", "--user", metavar="USER", help="User name on the cluster.")
@click.option("--cluster", metavar="NAME", help="The cluster, where the service has several.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of stdin."
)
@click.option(
    "--with-token", is_flag=True, help="Read a token or an API key from stdin, and store that."
)
@click.option("--sso", is_flag=True, help="Log in at the site's own login page (OpenID Connect).")
@pass_invocation
def login(
    invocation: Invocation,
    url: str | None,
    user: str | None,
    cluster: str | None,
    password_stdin: bool,
    with_token: bool,
    sso: bool,
) -> None:
    """Log in to a service with an account of the cluster, and store the login.

    The token is stored in the keyring of the desktop if the package keyring is installed, else in a
    file that only you can read. It is renewed while the service allows that.

    \b
    Examples:
      resop login https://hpc.example -u ada
      resop login https://hpc.example --with-token <key.txt
      resop login https://hpc.example --sso
    """
    if sso and (with_token or password_stdin or user):
        raise click.UsageError("--sso needs no user name, password or token")
    profile = choose_profile(invocation.profile, store=invocation.store)
    before = invocation.store.load(profile)
    if url is None and before is None and "RESOP_URL" not in os.environ:
        url = click.prompt("Address of the service", err=True)
    hpc = invocation.connect(url, None)
    if with_token:
        _store_token(invocation, hpc.url, profile)
        return
    service = hpc.service()
    if cluster is not None and cluster not in service.clusters:
        raise click.BadParameter(
            f"there is no cluster {cluster!r}; there is {', '.join(service.clusters)}",
            param_hint="--cluster",
        )
    if sso:
        _log_in_at_issuer(invocation, hpc, cluster)
        _store_schema(hpc)
        _tell(invocation, profile)
        return
    known = before.username if before and before.url == hpc.url else ""
    user = user or _ask("User name", default=known or getpass.getuser(), given=password_stdin)
    password = _password(f"Password of {user}", password_stdin)
    _log_in(invocation, hpc, user, password, cluster)
    _store_schema(hpc)
    _tell(invocation, profile)
    if cluster is None and len(service.clusters) > 1:
        invocation.note(f"Other clusters: {', '.join(service.clusters)} (--cluster NAME)")


def _ask(label: str, *, default: str, given: bool) -> str:
    return default if given else str(click.prompt(label, default=default, err=True))


def _password(label: str, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt(label, hide_input=True, err=True))


def _log_in(
    invocation: Invocation, hpc: Resop, user: str, password: str, cluster: str | None
) -> None:
    """Log in; ask for a one-time code if the cluster wants one."""
    invocation.secrets.add(password)
    otp: str | None = None
    for attempt in range(MAX_CODES + 1):
        try:
            with invocation.waiting(f"Logging in to {hpc.url} …"):
                hpc.login(user, password, otp=otp, cluster=cluster)
            return
        except errors.OtpRequired as fault:
            if attempt == MAX_CODES or not sys.stdin.isatty():
                raise
            invocation.note(fault.message if attempt else "The cluster asks for a one-time code.")
            otp = str(click.prompt("Code", err=True))
            invocation.secrets.add(otp)


def _log_in_at_issuer(invocation: Invocation, hpc: Resop, cluster: str | None) -> None:
    """Show the person where to enter a code, and wait until they have."""

    def show(code: DeviceCode) -> None:
        click.echo(  # also with --quiet: nothing happens without it
            f"Open {code.address_with_code} and check that it shows the code {code.user_code}."
            if code.address_with_code
            else f"Open {code.address} and enter the code {code.user_code}.",
            err=True,
        )

    with invocation.waiting("Waiting for your login there …"):
        hpc.login_at_issuer(show, cluster=cluster)


def _store_token(invocation: Invocation, url: str, profile: str) -> None:
    """Store a token that is read from standard input, if the service takes it."""
    token = sys.stdin.readline().strip()
    if not token:
        raise click.UsageError("--with-token: standard input has no token")
    hpc = invocation.connect(url, token)
    hpc.service()
    hpc.connection.get("/tasks", params={"limit": 1})
    invocation.store.save(profile, Login(url, token))
    _store_schema(hpc)
    invocation.note(f"The token for {url} is stored as profile {profile}.")


def _store_schema(hpc: Resop) -> None:
    """Store the service's actions for completion, which makes no request itself."""
    with contextlib.suppress(errors.ResopError):
        SchemaCache().load(hpc)


def _tell(invocation: Invocation, profile: str) -> None:
    kept = invocation.store.load(profile)
    assert kept is not None
    until = f" until {moment(kept.expires_at)}" if kept.expires_at else ""
    renewed = ""
    if kept.login_expires_at > kept.expires_at:
        renewed = f", renewed until {moment(kept.login_expires_at)}"
    invocation.note(f"Logged in to {kept.url} as {kept.username}@{kept.cluster}{until}{renewed}.")


@click.command(cls=Command)
@click.option("--all", "all_profiles", is_flag=True, help="End the logins of all profiles.")
@click.option("--cancel", is_flag=True, help="Cancel the tasks of the login, too.")
@pass_invocation
def logout(invocation: Invocation, all_profiles: bool, cancel: bool) -> None:
    """End the login, and remove its key from the cluster; its tasks continue."""
    chosen = choose_profile(invocation.profile, store=invocation.store)
    profiles = invocation.store.profiles() if all_profiles else [chosen]
    found = [(each, kept) for each in profiles if (kept := invocation.store.load(each))]
    if not found:
        invocation.note("You are not logged in.")
    for profile, kept in found:
        _end(invocation, profile, kept, cancel=cancel)


def _end(invocation: Invocation, profile: str, kept: Login, *, cancel: bool) -> None:
    with Resop(kept.url, profile=profile, store=invocation.store) as hpc:
        _end_at_service(invocation, hpc, profile, kept, cancel=cancel)


def _end_at_service(
    invocation: Invocation, hpc: Resop, profile: str, kept: Login, *, cancel: bool
) -> None:
    place = f"{kept.username}@{kept.cluster} at {kept.url}" if kept.username else kept.url
    try:
        hpc.logout(keep_running=not cancel)
        invocation.note(f"Logged out: {place}.")
    except errors.AccessError:  # it has ended already, or is an API key
        invocation.store.remove(profile)
        invocation.note(f"The login is forgotten here: {place}.")
    except errors.ResopError as fault:
        invocation.store.remove(profile)
        invocation.note(
            f"The login is forgotten here, and may still be valid at the service: {place}: "
            f"{fault.message}"
        )


@click.command(cls=Command)
@pass_invocation
def whoami(invocation: Invocation) -> None:
    """Show who is logged in, where, and until when; fails if the login has ended."""
    hpc = invocation.hpc
    hpc.connection.require_token()
    hpc.connection.get("/tasks", params={"limit": 1})
    kept = hpc.connection.login
    shown = {
        "username": kept.username or None,
        "cluster": kept.cluster or None,
        "url": kept.url,
        "profile": hpc.profile,
        "expires_at": kept.expires_at or None,
        "login_expires_at": kept.login_expires_at or None,
    }
    if invocation.wants_table and not kept.username:
        invocation.note("The token is an API key, or was given by RESOP_TOKEN.")
    invocation.show(shown)
