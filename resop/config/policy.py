"""The policy: a site's rules for which users may run which actions, how often, and read settings.

The first rule that applies decides; if none applies, the default of the file. Without a file
everything is allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from resop.config.approvers import ApprovalEntry, Approvers, Globs, names_text
from resop.config.name_patterns import NamePatterns
from resop.config.validation import error_message
from resop.config.webhook_hosts import WebhookHosts
from resop.config.yaml_loader import InvalidYaml, line_of, read_yaml
from resop.errors import ApprovalRequired, Forbidden, InvalidSettings
from resop.security.identity import Identity
from resop.types import ErrorMessage


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    allow: Globs | None = None
    deny: Globs | None = None
    users: Globs | None = None
    groups: Globs | None = None
    clusters: Globs | None = None
    rate: Annotated[
        int | None, Field(ge=1), ErrorMessage("must be a number of tasks a minute, at least 1")
    ] = None
    approval: ApprovalEntry | None = None

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if (self.allow is None) is (self.deny is None):
            raise ValueError("must have either 'allow' or 'deny'")
        if self.rate is not None and self.allow is None:
            raise ValueError("must have 'allow' if it has 'rate'")
        if self.approval is not None:
            self._check_approval(self.approval)
        return self

    def _check_approval(self, approval: ApprovalEntry) -> None:
        if self.allow is None:
            raise ValueError("must have 'allow' if it has 'approval'")
        only = self.users if len(self.users or ()) == 1 and not self.groups else None
        alone = only is not None and approval.users == only and not approval.groups
        if alone and not set("*?[").intersection(*only or ()):
            raise ValueError("nobody could approve: 'approval' names only the user who asks")

    @property
    def actions(self) -> tuple[str, ...]:
        return self.allow or self.deny or ()

    def __str__(self) -> str:
        verb = "allows" if self.allow else "denies"
        where = f" on {' or '.join(self.clusters)}" if self.clusters else ""
        rate = f", {self.rate} a minute" if self.rate else ""
        approval = f", if {self.approval} approves" if self.approval else ""
        whom = names_text(self.users, self.groups) or "everybody"
        return f"{verb} {', '.join(self.actions)} to {whom}{where}{rate}{approval}"


class _BoundRule:
    """A rule with the clusters that its names belong to."""

    def __init__(self, rule: _Rule, line: int, clusters: Collection[str]) -> None:
        self.rule = rule
        self.line = line
        plain = rule.clusters is not None
        self._users = NamePatterns(rule.users or (), clusters, plain=plain)
        self._groups = NamePatterns(rule.groups or (), clusters, plain=plain)
        self.approvers = (
            Approvers(rule.approval, rule.clusters, clusters) if rule.approval else None
        )

    def applies(self, identity: Identity, groups: Collection[str] | None) -> bool:
        """Return True if the rule applies to this user.

        If the groups are unknown, a rule for groups applies if it denies, not if it allows.
        """
        rule, (username, cluster) = self.rule, identity
        if rule.clusters and not any(fnmatchcase(cluster, each) for each in rule.clusters):
            return False
        if rule.users is None and rule.groups is None:
            return True
        if self._users.matches(username, cluster):
            return True
        if groups is None:
            return rule.groups is not None and rule.allow is None
        return any(self._groups.matches(group, cluster) for group in groups)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Annotated[Literal["allow", "deny"], ErrorMessage("must be allow or deny")]
    rules: tuple[_Rule, ...] = ()
    settings: Mapping[str, Globs] = {}

    @field_validator("rules", mode="before")
    @classmethod
    def _check_list(cls, value: object) -> object:
        if not isinstance(value, list):
            raise ValueError("must be a list of rules")
        return value

    @field_validator("settings", mode="before")
    @classmethod
    def _check_mapping(cls, value: object) -> object:
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise ValueError("must be a mapping of settings to operators")
        return value


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of the policy for one user and one action, with its reason."""

    allowed: bool
    place: str = ""
    """`file:line` of the rule, or the file if its default decided; empty without a policy."""
    reason: str = "there is no policy"
    rate: int | None = None
    """The allowed number of tasks a minute, or None for no limit."""
    approvers: Approvers | None = None
    """The users one of whom has to approve each task; None if nobody has to."""

    def enforce(self, *, with_approval: bool = False) -> None:
        """Raise Forbidden, which names the rule, unless the action is allowed.

        Also raise ApprovalRequired if the action needs approval and the caller, which must then
        see to it, does not say so by `with_approval`.
        """
        if not self.allowed:
            raise Forbidden(f"{self.place}: {self.reason}", rule=self.place)
        if self.approvers is not None and not with_approval:
            raise ApprovalRequired(f"{self.place}: {self.reason}", rule=self.place)


class Policy:
    """Decides who may do what; `load_policy` makes one, and without a file it allows everything."""

    def __init__(
        self,
        content: _File | None = None,
        file: Path | None = None,
        root: yaml.Node | None = None,
        clusters: Collection[str] = (),
    ) -> None:
        """Raise InvalidSettings for a name that does not say on which of `clusters`."""
        self._content = content or _File(default="allow")
        self._file = file
        self._root = root
        self._clusters = clusters
        self._rules = [self._bind(*each) for each in enumerate(self._content.rules)]
        self._rules_of: dict[str, list[_BoundRule]] = {}
        self.asks_groups = any(
            rule.groups or (rule.approval and rule.approval.groups) for rule in self._content.rules
        )
        """True if a rule depends on the user's groups on the cluster."""
        self.has_approvals = any(rule.approval for rule in self._content.rules)
        """True if a rule asks for approval."""

    def _bind(self, number: int, rule: _Rule) -> _BoundRule:
        place = ("rules", number)
        if rule.clusters and self._clusters:
            self._check_globs((*place, "clusters"), rule.clusters, self._clusters)
        try:
            return _BoundRule(rule, line_of(self._root, place), self._clusters)
        except ValueError as fault:
            raise self._invalid(place, f"{fault}, or give the rule 'clusters:'") from None

    def decide(self, action: str, identity: Identity, groups: Collection[str] | None) -> Decision:
        """Decide on `operator:action` for a user; `groups` is None if they are unknown."""
        if self._file is None:
            return _ALLOWED
        rules = self._rules_of.get(action)
        if rules is None:
            rules = self._rules_of[action] = [
                each
                for each in self._rules
                if any(fnmatchcase(action, glob) for glob in each.rule.actions)
            ]
        for bound in rules:
            if bound.applies(identity, groups):
                rule = bound.rule
                unknown = " (the user's groups are unknown: log in again)"
                reason = f"{rule}{unknown if rule.groups and groups is None else ''}"
                place = f"{self._file.name}:{bound.line}"
                allowed = rule.allow is not None
                return Decision(allowed, place, reason, rule.rate, bound.approvers)
        default = self._content.default
        whom = identity if len(self._clusters) > 1 else identity.username
        reason = f"no rule applies to {action} and {whom}; the default is '{default}'"
        return Decision(default == "allow", self._file.name, reason)

    def check_reader(self, setting: str, operator: str) -> None:
        """Raise Forbidden if this operator may not read `setting`."""
        readers = self._content.settings.get(setting)
        if readers is not None and not any(fnmatchcase(operator, each) for each in readers):
            assert self._file is not None
            place = f"{self._file.name}:{line_of(self._root, ('settings', setting))}"
            message = f"{place}: the operator {operator} may not read the setting {setting}"
            raise Forbidden(message, rule=place)

    def check_names(self, actions: Collection[str]) -> None:
        """Raise InvalidSettings for a glob that matches none of `actions` (`operator:action`).

        A misspelled rule would forbid nothing.
        """
        operators = {each.partition(":")[0] for each in actions}
        for number, rule in enumerate(self._content.rules):
            key = "allow" if rule.allow else "deny"
            self._check_globs(("rules", number, key), rule.actions, actions)
        for name, readers in self._content.settings.items():
            self._check_globs(("settings", name), readers, operators)

    def check_approvals(self, unqueued: Collection[str]) -> None:
        """Raise InvalidSettings for a rule with `approval` that allows one of these actions.

        They are no tasks, so nothing could wait for the approval.
        """
        for number, rule in enumerate(self._content.rules):
            for action in unqueued if rule.approval else ():
                if any(fnmatchcase(action, glob) for glob in rule.actions):
                    message = f"the rule also allows {action}, which is no task and cannot wait"
                    raise self._invalid(("rules", number, "approval"), message)

    def check_hosts(self, hosts: WebhookHosts) -> None:
        """Raise InvalidSettings for a `notify` of an approval that is no address of `hosts`."""
        for number, rule in enumerate(self._content.rules):
            try:
                if rule.approval is not None and rule.approval.notify is not None:
                    hosts.receiver(rule.approval.notify)
            except ValueError as fault:
                place = ("rules", number, "approval", "notify")
                raise self._invalid(place, str(fault)) from None

    def _check_globs(
        self, place: tuple[int | str, ...], globs: Globs, names: Collection[str]
    ) -> None:
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in names):
                raise self._invalid(place, f"{glob!r} matches nothing on this service")

    def _invalid(self, place: tuple[int | str, ...], message: str) -> InvalidSettings:
        line = line_of(self._root, place)
        return InvalidSettings(f"POLICY_FILE: {self._file}:{line}: {_dotted(place)}: {message}")


_ALLOWED = Decision(True)
OPEN = Policy()


def load_policy(file: Path, clusters: Collection[str] = ()) -> Policy:
    """Read a policy for these clusters. Raises InvalidSettings, which names file, line and key."""
    root = None
    try:
        content, root = read_yaml(file)
        return Policy(_File.model_validate(content or {}), file, root, clusters)
    except OSError as fault:
        raise InvalidSettings(f"POLICY_FILE: {file}: {fault.strerror}") from None
    except InvalidYaml as fault:
        raise InvalidSettings(f"POLICY_FILE: {file}:{fault.line}: {fault.message}") from None
    except ValidationError as fault:
        error = fault.errors()[0]
        model = _model_of(error["loc"])
        message = error_message(error, model)
        line = line_of(root, error["loc"])
        raise InvalidSettings(
            f"POLICY_FILE: {file}:{line}: {_dotted(error['loc'])}: {message}"
        ) from None


def _model_of(place: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model that a place in the file belongs to."""
    if place[2:3] == ("approval",):
        return ApprovalEntry
    return _Rule if place[:1] == ("rules",) else _File


def _dotted(place: tuple[int | str, ...]) -> str:
    return ".".join(map(str, place)) or "policy"
