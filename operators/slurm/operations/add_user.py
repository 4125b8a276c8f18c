"""Add a user to a Slurm account, so that the user's jobs can be charged to it."""

from collections.abc import Mapping
from typing import Annotated, Any, Unpack

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import association_options
from operators.slurm.association_options import AssociationOptions
from operators.slurm.associations import AccountName, accounts_of, modify, undone_by
from resop import Outcome, Shell, Username, operation


class Membership(TypedDict):
    """A user and the account, and whether the user was added to it."""

    user: str
    account: str
    outcome: Outcome


@operation(
    dry_run=True,
    examples=[
        {"user": "ada", "account": "project9"},
        {"user": "ada", "account": "project9", "fairshare": 5, "qos": ["normal", "long"]},
    ],
)
def add_user(
    shell: Shell,
    user: Username,
    account: AccountName,
    default: Annotated[
        bool,
        Field(description="make it the account that the user's jobs are charged to by default"),
    ] = False,
    ensure: Annotated[
        bool, Field(description="succeed if the user is in the account with these settings")
    ] = False,
    update: Annotated[
        bool, Field(description="with `ensure`: change the settings that differ, do not fail")
    ] = False,
    **options: Unpack[AssociationOptions],
) -> Membership:
    """Return the user and the account. Requires the rights of a Slurm administrator.

    A user's first account becomes the default one. The user need not exist in Slurm before.
    """
    if accounts_of(shell, user, account):
        if not ensure:
            shell.fail(f"{user} is already in the Slurm account {account}")
        changed = _settle(shell, user, account, default, options, update=update)
        return Membership(user=user, account=account, outcome="changed" if changed else "unchanged")
    words = [f"defaultaccount={account}"] if default else []
    words += association_options.set_words(options).values()
    member = (f"name={user}", f"account={account}")
    with undone_by(shell, "delete", "user", *member):
        summary = f"add {user} to the Slurm account {account}"
        modify(shell, "add", "user", *member, *words, summary=summary)
    shell.log(f"added {user} to the Slurm account {account}")
    return Membership(user=user, account=account, outcome="created")


def _settle(
    shell: Shell,
    user: str,
    account: str,
    default: bool,
    options: Mapping[str, Any],
    *,
    update: bool,
) -> bool:
    """Change what differs in an existing association, or fail, as `update` says."""
    before = association_options.read_association(shell, user, account)
    different = association_options.differences(before, options)
    former = association_options.default_account(shell, user) if default else account
    described = [f"{name} is {before[name] or 'not set'}" for name in different]
    described += [f"default account is {former}"] if former != account else []
    if not described:
        shell.log(f"{user} is in the Slurm account {account} already: unchanged")
        return False
    if not update:
        shell.fail(
            f"{user} is already in the Slurm account {account}, and {', '.join(described)}: change "
            "that with modify_user, or set update"
        )
    if different:
        words = association_options.set_words(different)
        association_options.change(shell, user, account, before, words)
    if former != account:
        association_options.set_default_account(shell, user, account, former)
    changed = [*different, *(["default account"] if former != account else [])]
    shell.log(f"changed {', '.join(changed)} of {user} in the Slurm account {account}")
    return True
