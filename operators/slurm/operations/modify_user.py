"""Change a user's fair share, limits, qualities of service or default account in Slurm."""

from typing import Annotated, Unpack

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import association_options
from operators.slurm.association_options import AssociationOptions, ClearedName
from operators.slurm.associations import AccountName, accounts_of
from resop import Shell, Username, operation


class UserChange(TypedDict):
    """The accounts in which something was changed, and the default one."""

    user: str
    changed: dict[str, list[str]]
    """The options that were changed, by account."""
    default_account: str | None


@operation(
    dry_run=True,
    examples=[
        {"user": "ada", "account": "project9", "fairshare": 10, "qos": ["normal", "long"]},
        {"user": "ada", "default_account": "project9"},
        {"user": "ada", "clear": ["max_jobs"]},
    ],
)
def modify_user(
    shell: Shell,
    user: Username,
    account: Annotated[
        AccountName | None, Field(description="only in this account (default: in all)")
    ] = None,
    default_account: Annotated[
        AccountName | None, Field(description="account that jobs are charged to by default")
    ] = None,
    clear: Annotated[
        list[ClearedName] | None, Field(description="limits that no longer apply")
    ] = None,
    **options: Unpack[AssociationOptions],
) -> UserChange:
    """Return what was changed. Options that are not given change nothing.

    Requires the rights of a Slurm administrator.
    """
    accounts = list(accounts_of(shell, user, account))
    if not accounts:
        where = f"the Slurm account {account}" if account else "any Slurm account"
        shell.fail(f"{user} is not in {where}")
    given = {name for name, value in options.items() if value is not None}
    if both := given.intersection(clear or ()):
        shell.fail(f"{', '.join(sorted(both))}: give a value, or clear it, not both")
    # With `account`, the others are not known yet.
    elsewhere = default_account and default_account not in accounts
    if elsewhere and not (account and accounts_of(shell, user, default_account)):
        shell.fail(f"{user} is not in the Slurm account {default_account}")
    changed: dict[str, list[str]] = {}
    if given or clear:
        for each in accounts:
            changed[each] = _change(shell, user, each, options, clear or [])
    former = association_options.default_account(shell, user)
    if default_account and default_account != former:
        association_options.set_default_account(shell, user, default_account, former)
        shell.log(f"{user}'s default account is {default_account}")
    return UserChange(
        user=user,
        changed={name: words for name, words in changed.items() if words},
        default_account=default_account or former,
    )


def _change(
    shell: Shell, user: str, account: str, options: AssociationOptions, clear: list[ClearedName]
) -> list[str]:
    before = association_options.read_association(shell, user, account)
    different = association_options.differences(before, {**options})
    words = association_options.set_words(different)
    words |= {
        name: association_options.clear_word(name, before[name]) for name in clear if before[name]
    }
    if words:
        association_options.change(shell, user, account, before, words)
        shell.log(f"changed {', '.join(words)} of {user} in the Slurm account {account}")
    else:
        shell.log(f"{user} in the Slurm account {account}: unchanged")
    return list(words)
