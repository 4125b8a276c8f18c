"""Compare a user who exists with what is wanted, and change what differs if that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from operators.ldap.operations.modify_user import modify_user
from operators.ldap.people import DirectoryUser, details_from_entry, get_entry, get_user
from resop import Outcome, Shell

DETAILS = ("mail_aliases", "ssh_keys")
FIXED = ("uid_number",)
"""Values that no request changes: files on the cluster belong to the number."""

Ensure = Annotated[
    bool,
    Field(description="succeed if it exists with these values: its outcome is then `unchanged`"),
]
Update = Annotated[
    bool,
    Field(description="with `ensure`: change the values that differ, instead of failing"),
]


def settle(
    shell: Shell, existing: DirectoryUser, wanted: Mapping[str, Any], *, update: bool
) -> tuple[DirectoryUser, Outcome]:
    """Return an existing user, and whether something was changed.

    `wanted` has the values to compare, by the names of options; None means any. Raises
    OperationFailed for different values unless `update`, and always for another user id.
    """
    different = _differences(shell, existing, wanted)
    username = existing["username"]
    if not different:
        shell.log(f"{username} is in the directory already: unchanged")
        return existing, "unchanged"
    fixed = [name for name in different if name in FIXED]
    if fixed or not update:
        was = ", ".join(f"{name} is {_shown(different[name])}" for name in fixed or different)
        how = "that cannot be changed" if fixed else "change that with modify_user, or set update"
        shell.fail(f"the directory already has a user {username}, whose {was}: {how}")
    modify_user(shell, username=username, **{name: wanted[name] for name in different})
    return get_user(shell, username), "changed"


def _differences(
    shell: Shell, existing: DirectoryUser, wanted: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the present values that are others than the wanted ones."""
    was: dict[str, Any] = {**existing}
    if any(wanted.get(name) is not None for name in DETAILS):
        entry = get_entry(shell, existing["username"])
        was = {**details_from_entry(shell, entry, existing["username"], [])}
    return {
        name: was[name]
        for name, value in wanted.items()
        if value is not None and _comparable(was[name]) != _comparable(value)
    }


def _comparable(value: Any) -> Any:
    return sorted(set(value)) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    return ", ".join(value) or "empty" if isinstance(value, list) else str(value)
