"""Mask secrets in everything that is shown or stored: command lines, output, logs, errors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from resop.security.secret_forms import SecretForms
from resop.security.text_search import Span
from resop.types import MASK

SLICE_CHARACTERS = 64 << 10
"""Longer texts are masked in slices, which bounds the memory for what is found."""
_SEPARATOR = "\0"

SecretPlace = tuple[str | int, ...]
"""The keys and indexes that lead to a value in JSON."""


class Masker:
    """Replaces every known secret in a text by `********`.

    The time is linear in the text, whatever the secrets are; no form of a secret is compiled.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._forms = SecretForms()
        # Both are replaced, and never changed, since another thread may be reading them.
        self._lock = threading.Lock()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask further secrets from now on; may be called from any thread."""
        with self._lock:
            if new := [secret for secret in secrets if secret not in self._secrets]:
                self._secrets = self._secrets | set(new)
                self._forms = self._forms.with_secrets(dict.fromkeys(new))

    def text(self, text: str, limit: int | None = None) -> str:
        """Return `text` with every secret replaced; with `limit`, the beginning of the result."""
        if not self._forms:
            return text[:limit]
        if len(text) <= SLICE_CHARACTERS:
            return self.whole_text(text)[:limit]
        stream, masked, size, start = MaskedStream(self), list[str](), 0, 0
        while start < len(text) and (limit is None or size < limit):
            masked.append(stream.feed(text[start : start + SLICE_CHARACTERS]))
            size, start = size + len(masked[-1]), start + SLICE_CHARACTERS
        if start >= len(text):
            masked.append(stream.finish())
        return "".join(masked)[:limit]

    def whole_text(self, text: str) -> str:
        """Return `text` with every secret replaced; `text` takes less memory."""
        return _replace(text, self._forms.covered(text))

    def so_far(self, text: str) -> tuple[str, str]:
        """Mask the beginning of a text; return it, and the rest in which a secret may begin.

        The rest must be put before the next piece. All pieces together are what `text` returns
        for the whole text.
        """
        forms = self._forms
        if not forms:
            return text, ""
        end, spans = forms.unfinished(text), forms.covered(text)
        for start, stop in spans:
            if start < end < stop:
                end = start
        return _replace(text[:end], [span for span in spans if span[1] <= end]), text[end:]

    def without_beginning(self, text: str) -> str:
        """Return a text that was cut without what may be the beginning of a secret."""
        return text[: self._forms.unfinished(text)]

    def json(self, value: Any) -> Any:
        """Return a JSON value with every secret replaced, in keys, texts and numbers."""
        if not self._forms:
            return value
        texts: list[str] = []
        _collect_texts(value, texts)
        return _with_texts(value, iter(self._texts(texts)))

    def _texts(self, texts: list[str]) -> list[str]:
        """Mask many texts at once: to search in each of them takes much longer."""
        joined = _SEPARATOR.join(texts)
        is_clear = joined.count(_SEPARATOR) == len(texts) - 1
        if not is_clear or any(_SEPARATOR in secret for secret in self._secrets):
            return [self.text(text) for text in texts]
        return self.text(joined).split(_SEPARATOR)


class MaskedStream:
    """Masks a text that arrives in pieces; the time is linear, however small the pieces are."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held = ""
        """Text that may be the beginning of a secret."""
        self._new: list[str] = []
        self._new_size = 0

    def feed(self, text: str) -> str:
        """Return the masked text that is safe to show after a further piece."""
        self._new.append(text)
        self._new_size += len(text)
        if self._new_size < len(self._held):
            return ""  # a long beginning is not searched again for every short piece
        shown, self._held = self._masker.so_far(self._rest())
        self._new, self._new_size = [], 0
        return shown

    def finish(self, *, cut: bool = False) -> str:
        """Return the rest; a text that was `cut` may end inside a secret."""
        text = self._rest()
        return self._masker.so_far(text)[0] if cut else self._masker.whole_text(text)

    def _rest(self) -> str:
        return "".join([self._held, *self._new])


def _replace(text: str, spans: Iterable[Span]) -> str:
    """Return the text with a mask in place of each of the parts."""
    masked, at = list[str](), 0
    for start, end in spans:
        masked += text[at:start], MASK
        at = end
    return "".join([*masked, text[at:]])


def _collect_texts(value: Any, texts: list[str]) -> None:
    """Append the texts in a JSON value, in the order in which `_with_texts` replaces them."""
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _collect_texts(key, texts)
            _collect_texts(item, texts)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect_texts(item, texts)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        texts.append(str(value))


def _with_texts(value: Any, texts: Iterator[str]) -> Any:
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, Mapping):
        return {_with_texts(key, texts): _with_texts(item, texts) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(item, texts) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if (masked := next(texts)) == str(value) else masked
    return value


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


def secret_places(value: Any, place: SecretPlace = ()) -> Iterator[tuple[SecretPlace, str]]:
    """Yield the keys and indexes that lead to each secret in a value as JSON, and its text."""
    if isinstance(value, SecretStr):
        yield place, value.get_secret_value()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from secret_places(item, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from secret_places(item, (*place, number))
    elif (parts := _parts(value)) is not None:
        yield from secret_places(parts, place)


def with_secrets(value: Any, secrets: Iterable[tuple[Sequence[str | int], str]]) -> Any:
    """Return a JSON value with secrets back in their places; places that it lacks are skipped."""
    revealed = deepcopy(value)
    for place, text in secrets:
        if not place:
            return text
        with contextlib.suppress(LookupError, TypeError):
            part = revealed
            for key in place[:-1]:
                part = part[key]
            if place[-1] in (part if isinstance(part, dict) else range(len(part))):
                part[place[-1]] = text
    return revealed


def _parts(value: Any) -> dict[str, Any] | None:
    """Return the fields of a model or dataclass by their names in requests, else None."""
    if isinstance(value, BaseModel):
        described = type(value).model_fields
        named = {described[name].alias or name: getattr(value, name) for name in described}
        return named | (value.model_extra or {})
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return None
