"""The part `approval` of a rule of the policy: who has to approve what the rule allows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from resop.config.name_patterns import NamePatterns
from resop.security.identity import Identity
from resop.types import ErrorMessage


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Globs = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_list),
    Field(min_length=1),
    ErrorMessage("must be a name or a list of names, in which '*' stands for any text"),
]
"""One glob or a list of globs."""


class ApprovalEntry(BaseModel):
    """The key `approval` of a rule, as it is written in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    users: Globs | None = None
    groups: Globs | None = None
    notify: str | None = None
    """The HTTPS address that gets a webhook for each request for approval."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if self.users is None and self.groups is None:
            raise ValueError("must name the 'users' or 'groups' who approve")
        return self

    def __str__(self) -> str:
        return names_text(self.users, self.groups)


class Approvers:
    """The users who may approve what one rule allows."""

    def __init__(
        self, entry: ApprovalEntry, rule_clusters: Sequence[str] | None, clusters: Collection[str]
    ) -> None:
        """Bind the names to clusters: a plain name is one on the clusters of its rule.

        Raises ValueError if a name does not say on which of several `clusters`.
        """
        self.notify = entry.notify
        self._text = str(entry)
        self._users = NamePatterns(_bound(entry.users, rule_clusters, clusters), clusters)
        self._groups = NamePatterns(_bound(entry.groups, rule_clusters, clusters), clusters)

    def __str__(self) -> str:
        return self._text

    def include(self, identity: Identity, groups: Collection[str] | None) -> bool:
        """Return True if the rule names this user; unknown `groups` (None) are none."""
        name, cluster = identity
        return self._users.matches(name, cluster) or any(
            self._groups.matches(group, cluster) for group in groups or ()
        )


def names_text(users: Sequence[str] | None, groups: Sequence[str] | None) -> str:
    """Return users and groups in words; empty if there are none."""
    named = [f"the user {each}" for each in users or ()]
    return " or ".join(named + [f"the group {each}" for each in groups or ()])


def _bound(
    names: Sequence[str] | None, rule_clusters: Sequence[str] | None, clusters: Collection[str]
) -> Iterator[str]:
    """Yield the names, each plain one with the clusters of its rule, if the rule has any.

    Otherwise `carol` in a rule for the cluster main would be a carol of any cluster as well.
    """
    for name in names or ():
        user, _, cluster = name.rpartition("@")
        named = bool(user) and any(fnmatchcase(each, cluster) for each in clusters)
        if named or rule_clusters is None:
            yield name
        else:
            yield from (f"{name}@{each}" for each in rule_clusters)
