"""The policy: a site's file that says who may run which action, how often, and who reads a setting.

The first rule that fits decides; where none does, the file's default. Without a file everything
is allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from resop.config.yaml_loader import InvalidYaml, line_of, read_yaml
from resop.errors import Forbidden, InvalidSettings


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
"""One glob or a list of them."""


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    allow: Names | None = None
    deny: Names | None = None
    users: Names | None = None
    groups: Names | None = None
    rate: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _decides_one_thing(self) -> Self:
        if (self.allow is None) is (self.deny is None):
            raise ValueError("a rule has either 'allow' or 'deny'")
        if self.rate is not None and self.allow is None:
            raise ValueError("'rate' belongs to 'allow'")
        return self

    @property
    def actions(self) -> tuple[str, ...]:
        return self.allow or self.deny or ()

    def fits(self, username: str, groups: Collection[str] | None) -> bool:
        """Whether it is about this user; when the groups are not known, to the user's loss."""
        if self.users is None and self.groups is None:
            return True
        if any(fnmatchcase(username, each) for each in self.users or ()):
            return True
        if groups is None:
            return self.groups is not None and self.allow is None
        return any(fnmatchcase(group, each) for each in self.groups or () for group in groups)

    def __str__(self) -> str:
        word = "allows" if self.allow else "denies"
        whom = [f"the user {each}" for each in self.users or ()]
        whom += [f"the group {each}" for each in self.groups or ()]
        rate = f", {self.rate} a minute" if self.rate else ""
        return f"{word} {', '.join(self.actions)} to {' or '.join(whom) or 'everybody'}{rate}"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Literal["allow", "deny"]
    rules: tuple[_Rule, ...] = ()
    settings: Mapping[str, Names] = {}


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of one user and one action, and why."""

    allowed: bool
    place: str = ""
    """`file:line` of the rule, or the file alone where its default decided; empty without one."""
    reason: str = "there is no policy"
    rate: int | None = None
    """How often a minute."""

    def enforce(self) -> None:
        """Raise Forbidden, which names the rule, unless it is allowed."""
        if not self.allowed:
            raise Forbidden(f"{self.place}: {self.reason}", rule=self.place)


class Policy:
    """Decides; made by `load_policy`, or empty: it allows everything."""

    def __init__(
        self, said: _File | None = None, file: Path | None = None, root: yaml.Node | None = None
    ) -> None:
        self._said = said or _File(default="allow")
        self._file = file
        self._root = root
        self._rules = [
            (line_of(root, ("rules", number)), rule) for number, rule in enumerate(self._said.rules)
        ]
        self._rules_of: dict[str, list[tuple[int, _Rule]]] = {}
        self.asks_groups = any(rule.groups for rule in self._said.rules)
        """Whether anything depends on the groups that a user has on the cluster."""

    def decide(self, action: str, username: str, groups: Collection[str] | None) -> Decision:
        """What holds for `operator:action`; `groups` are None where they are not known."""
        if self._file is None:
            return _ALLOWED
        rules = self._rules_of.get(action)
        if rules is None:
            rules = self._rules_of[action] = [
                (line, rule)
                for line, rule in self._rules
                if any(fnmatchcase(action, each) for each in rule.actions)
            ]
        for line, rule in rules:
            if rule.fits(username, groups):
                unknown = " (whose groups are not known: log in again)"
                said = f"{rule}{unknown if rule.groups and groups is None else ''}"
                place = f"{self._file.name}:{line}"
                return Decision(rule.allow is not None, place, said, rule.rate)
        said = f"no rule is about {action} and {username}, the default is '{self._said.default}'"
        return Decision(self._said.default == "allow", self._file.name, said)

    def check_reader(self, setting: str, operator: str) -> None:
        """Raise Forbidden where `setting` is not for this operator."""
        readers = self._said.settings.get(setting)
        if readers is not None and not any(fnmatchcase(operator, each) for each in readers):
            assert self._file is not None
            place = f"{self._file.name}:{line_of(self._root, ('settings', setting))}"
            said = f"{place}: the setting {setting} is not for the operator {operator}"
            raise Forbidden(said, rule=place)

    def check_names(self, actions: Collection[str]) -> None:
        """Raise InvalidSettings for a glob that fits none of `actions` (`operator:action`).

        A rule that is misspelt would forbid nothing.
        """
        operators = {each.partition(":")[0] for each in actions}
        for number, rule in enumerate(self._said.rules):
            key = "allow" if rule.allow else "deny"
            self._check_globs(("rules", number, key), rule.actions, actions)
        for name, readers in self._said.settings.items():
            self._check_globs(("settings", name), readers, operators)

    def _check_globs(
        self, place: tuple[int | str, ...], globs: Names, names: Collection[str]
    ) -> None:
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in names):
                raise InvalidSettings(
                    f"POLICY_FILE: {self._file}:{line_of(self._root, place)}: "
                    f"{_dotted(place)}: there is no {glob!r}"
                )


_ALLOWED = Decision(True)
OPEN = Policy()


def load_policy(file: Path) -> Policy:
    """Read a policy. Raises InvalidSettings, which names file, line and key."""
    root = None
    try:
        content, root = read_yaml(file)
        return Policy(_File.model_validate(content or {}), file, root)
    except OSError as fault:
        raise InvalidSettings(f"POLICY_FILE: {file}: {fault.strerror}") from None
    except InvalidYaml as fault:
        raise InvalidSettings(f"POLICY_FILE: {file}:{fault.line}: {fault.said}") from None
    except ValidationError as fault:
        error = fault.errors()[0]
        message = error["msg"].removeprefix("Value error, ")
        line = line_of(root, error["loc"])
        raise InvalidSettings(
            f"POLICY_FILE: {file}:{line}: {_dotted(error['loc'])}: {message}"
        ) from None


def _dotted(place: tuple[int | str, ...]) -> str:
    return ".".join(map(str, place)) or "policy"
