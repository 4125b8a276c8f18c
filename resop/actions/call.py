"""One call of an action: its validated options and everything that is derived from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from resop.actions.catalog import Action
from resop.actions.options import check_options, option_values
from resop.security.masking import Masker, plain, secrets_in


class KeyedDigest(Protocol):
    """Computes a digest that only the holder of a secret key can compute: an Encryptor."""

    def digest(self, *parts: str) -> str: ...


class ActionCall:
    """An action with the validated options of one request, one batch item or one task."""

    def __init__(self, action: Action, options: BaseModel) -> None:
        self.action = action
        self.options = options
        """The options as an instance of the action's own model."""
        self._given = option_values(options)
        self.secrets = secrets_in(self._given)
        """The texts of all secrets among the options, at any depth."""
        self.masker = Masker(self.secrets)
        """Masks these secrets; a running task may teach it more."""

    @classmethod
    def check(cls, action: Action, options: Mapping[str, Any]) -> ActionCall:
        """Validate options. Raises InvalidOptions, which lists every fault."""
        return cls(action, check_options(action.options, options))

    @cached_property
    def values(self) -> dict[str, Any]:
        """The given options as JSON, secrets in plain text; defaults are left out."""
        values: dict[str, Any] = to_jsonable_python(plain(self._given, reveal=True))
        return values

    @cached_property
    def masked(self) -> dict[str, Any]:
        """The given options as JSON, every secret as `********`."""
        if not self.secrets:
            return self.values
        masked: dict[str, Any] = self.masker.json(
            to_jsonable_python(plain(self._given, reveal=False))
        )
        return masked

    @property
    def secret_options(self) -> set[str]:
        """The names of the options that contain a secret."""
        return {name for name, value in self._given.items() if secrets_in(value)}

    def digest(self, key: KeyedDigest) -> str:
        """Return a digest that is equal for equal calls: same action, same options."""
        return content_digest(key, self.action, self.values)


def content_digest(key: KeyedDigest, action: Action, content: Any) -> str:
    """Return a digest of an action and JSON content, equal for equal content."""
    text = json.dumps(content, sort_keys=True)
    return key.digest(action.kind, action.operator, action.name, text)
