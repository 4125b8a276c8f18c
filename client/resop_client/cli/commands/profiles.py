"""The stored logins: list them, and choose the one that is used if none is named."""

from __future__ import annotations

import click

from resop_client.cli.columns import Column
from resop_client.cli.command import DefaultGroup
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.connection_choice import choose_profile

COLUMNS = (
    Column("", "active", lambda active: "*" if active else ""),
    Column("PROFILE", "profile"),
    Column("USER", "username"),
    Column("CLUSTER", "cluster"),
    Column("SERVICE", "url"),
    Column("UNTIL", "expires_at"),
)


@click.group(cls=DefaultGroup)
def profiles() -> None:
    """List the stored logins, or choose the one that is used: resop profiles use NAME."""


@profiles.command("list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the stored logins; `*` marks the one that is used."""
    store = invocation.store
    active = choose_profile(invocation.profile, store=store)
    rows = []
    for name in store.profiles():
        kept = store.load(name)
        if kept is None:
            continue
        rows.append(
            {
                "active": name == active,
                "profile": name,
                "username": kept.username,
                "cluster": kept.cluster,
                "url": kept.url,
                "expires_at": kept.expires_at or None,
            }
        )
    invocation.show(rows, COLUMNS)


@profiles.command()
@click.argument("name")
@pass_invocation
def use(invocation: Invocation, name: str) -> None:
    """Use the login of this profile from now on, unless --profile or RESOP_PROFILE names one."""
    if invocation.store.load(name) is None:
        known = ", ".join(invocation.store.profiles()) or "none"
        raise click.BadParameter(
            f"there is no login with the profile {name!r} (profiles: {known}); "
            f"make one: resop login --profile {name} URL"
        )
    invocation.store.choose(name)
    invocation.note(f"Profile {name} is used from now on.")
