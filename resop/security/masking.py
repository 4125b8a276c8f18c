"""Mask secrets in everything that is shown or stored: command lines, output, logs, errors."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from resop.types import MASK

MIN_SECRET_CHARACTERS = 4
"""A shorter secret looks like ordinary text; it is masked only as a whole value."""
MIN_LINE_CHARACTERS = 8
"""Each line of a secret that has at least this length is masked on its own, too."""


class Masker:
    """Replaces every known secret in a text by `********`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask further secrets from now on."""
        forms = {form for secret in secrets for form in _written_forms(secret)}
        if not forms <= self._forms:
            self._forms |= forms
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def text(self, text: str) -> str:
        """Return `text` with every secret replaced."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def so_far(self, text: str) -> tuple[str, str]:
        """Mask the beginning of a text; return it, and the rest in which a secret may begin.

        The rest must be put before the next piece. All pieces together are what `text` returns
        for the whole text.
        """
        if self._pattern is None:
            return text, ""
        masked: list[str] = []
        at = 0
        while True:
            end = self._unfinished(text, at)
            found = self._pattern.search(text, at)
            if found is None or found.start() >= end:
                return "".join([*masked, text[at:end]]), text[end:]
            masked += [text[at : found.start()], MASK]
            at = found.end()

    def _unfinished(self, text: str, start: int) -> int:
        """Return the position of a secret that the end of the text cuts off, or the length."""
        first = len(text)
        for form in self._forms:
            at = max(start, len(text) - len(form) + 1)
            while (at := text.find(form[0], at, first)) >= 0:
                if form.startswith(text[at:]):
                    first = at
                at += 1
        return first

    def json(self, value: Any) -> Any:
        """Return a JSON value with every secret replaced, in keys, texts and numbers."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.json(key): self.json(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.json(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value if (masked := self.text(str(value))) == str(value) else masked
        return value


def _written_forms(secret: str) -> set[str]:
    """Return the forms of a secret in a text: bare, quoted, escaped, line by line."""
    if len(secret) < MIN_SECRET_CHARACTERS:
        return set()
    lines = {line for line in secret.splitlines() if len(line) >= MIN_LINE_CHARACTERS}
    once = {form for text in {secret, *lines} for form in _escaped(text)}
    # Escaped twice, as in `sh -c '…'`, or JSON in JSON.
    return {form for text in once for form in _escaped(text)}


def _escaped(text: str) -> set[str]:
    """Return the forms of a text in shell, JSON and Python, bare or in a longer word."""
    shells = {text.replace("'", other) for other in ("'\"'\"'", "'\\''", "\\'")}
    jsons = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    python = repr(text)[1:-1]
    raw = repr(text.encode("utf-8", "replace"))[2:-1]
    return {text, shlex.quote(text), *shells, *jsons, python, python.replace("'", "\\'"), raw}


def plain(value: Any, *, reveal: bool) -> Any:
    """Return `value` with each Secret as its text (`reveal`) or as `********`."""
    if isinstance(value, SecretStr):
        return value.get_secret_value() if reveal else MASK
    if isinstance(value, Mapping):
        return {key: plain(item, reveal=reveal) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, reveal=reveal) for item in value]
    if (parts := _parts(value)) is not None:
        return plain(parts, reveal=reveal)
    return value


def secrets_in(value: Any) -> list[str]:
    """Return the texts of all secrets in a value of models, lists, mappings and scalars."""
    if isinstance(value, SecretStr):
        return [value.get_secret_value()]
    if isinstance(value, Mapping):
        return [secret for item in value.values() for secret in secrets_in(item)]
    if isinstance(value, list | tuple | set | frozenset):
        return [secret for item in value for secret in secrets_in(item)]
    parts = _parts(value)
    return [] if parts is None else secrets_in(parts)


def _parts(value: Any) -> dict[str, Any] | None:
    """Return the fields of a model or dataclass by their names in requests, else None."""
    if isinstance(value, BaseModel):
        described = type(value).model_fields
        named = {described[name].alias or name: getattr(value, name) for name in described}
        return named | (value.model_extra or {})
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return None
