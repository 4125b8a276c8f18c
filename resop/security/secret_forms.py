"""The forms in which a secret can appear in a text: bare, quoted, escaped, line by line, encoded.

Quoting puts quotes and backslashes beside other quotes and backslashes, or before the letter of an
escape sequence, and however often a text is quoted again, it does only that. So a text is compared
with each run of these characters as one character (`collapse`): a form then covers all depths
and styles of quoting, and is hardly longer than the secret.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote, quote_plus

from resop.security.text_search import Span, begins_at_end, merge, occurrences

MIN_SECRET_CHARACTERS = 4
"""A shorter secret looks like ordinary text; it is masked only as a whole value."""
MIN_LINE_CHARACTERS = 8
"""Each line of a secret that has at least this length is masked on its own, too."""
MAX_FURTHER_FORMS = 256
"""How many forms, for all secrets together, may be lines and encodings: each is searched for."""

QUOTE = "'"
"""The character that a run of quotes and backslashes is collapsed to."""
_LONG_RUN = re.compile(r"['\"\\]{2,}")


def collapse(text: str) -> str:
    """Return the text with each run of quotes and backslashes as one quote."""
    text = text.replace('"', QUOTE).replace("\\", QUOTE)
    while QUOTE + QUOTE in text:
        text = text.replace(QUOTE + QUOTE, QUOTE)
    return text


class CollapsedText:
    """A collapsed text that knows where each of its characters was before."""

    def __init__(self, text: str) -> None:
        self.text = collapse(text)
        self._original = text

    def position(self, index: int) -> int:
        """Return where in the text itself the character at `index` begins."""
        runs, shifts = self._long_runs
        return index + shifts[bisect_left(runs, index)]

    @cached_property
    def _long_runs(self) -> tuple[list[int], list[int]]:
        """The index of each run that was longer, and by how much all of them were until there."""
        runs, shifts = list[int](), [0]
        for run in _LONG_RUN.finditer(self._original):
            start, end = run.span()
            runs.append(start - shifts[-1])
            shifts.append(shifts[-1] + end - start - 1)
        return runs, shifts


@dataclass(slots=True)
class SecretForms:
    """Everything to search for; only forms with a quote need a collapsed text."""

    plain: set[str] = field(default_factory=set)
    quoted: set[str] = field(default_factory=set)
    short: dict[str, int] = field(default_factory=dict)
    """Forms that are little more than quotes, each with the least length of its occurrences."""
    _further: int = 0

    def __bool__(self) -> bool:
        return bool(self.plain or self.quoted or self.short)

    def with_secrets(self, secrets: Iterable[str]) -> SecretForms:
        """Return these forms and those of further secrets."""
        forms = SecretForms(set(self.plain), set(self.quoted), dict(self.short), self._further)
        for secret in secrets:
            forms._add(secret)
        return forms

    def _add(self, secret: str) -> None:
        if len(secret) < MIN_SECRET_CHARACTERS:
            return
        for text in escaped(secret):
            self._add_form(collapse(text), len(secret))
        for text in _further_texts(secret):
            if self._further >= MAX_FURTHER_FORMS:
                return
            self._further += 1
            self._add_form(collapse(text), len(text))

    def covered(self, text: str) -> list[Span]:
        """Return the parts of a text that are secret."""
        spans = [span for form in self.plain for span in occurrences(text, form)]
        if not (self.quoted or self.short):
            return merge(spans)
        collapsed = CollapsedText(text)
        place = collapsed.position
        for form in self.quoted:
            found = occurrences(collapsed.text, form)
            spans += [(place(start), place(end)) for start, end in found]
        for form, size in self.short.items():
            for start, end in _every(collapsed.text, form) if form != QUOTE else ():
                if _size(span := (place(start), place(end))) >= size:
                    spans.append(span)
        if least := self.short.get(QUOTE):
            spans += [run.span() for run in _LONG_RUN.finditer(text) if _size(run.span()) >= least]
        return merge(spans)

    def unfinished(self, text: str) -> int:
        """Return where the end of a text may cut off a secret, or the text's length."""
        first = min((begins_at_end(text, form) for form in self.plain), default=len(text))
        if not (self.quoted or self.short):
            return first
        collapsed = CollapsedText(text)
        for form in (*self.quoted, *self.short):
            at = begins_at_end(collapsed.text, form)
            if form.endswith(QUOTE) and collapsed.text.endswith(form):
                at = min(at, len(collapsed.text) - len(form))  # more quotes may follow
            if at < len(collapsed.text):
                first = min(first, collapsed.position(at))
        return first

    def _add_form(self, form: str, size: int) -> None:
        if QUOTE not in form:
            self.plain.add(form)
        elif len(form) < MIN_SECRET_CHARACTERS:
            self.short[form] = min(size, self.short.get(form, size))
        else:
            self.quoted.add(form)


def _every(text: str, form: str) -> Iterator[Span]:
    """Yield each occurrence of a short form."""
    at = -1
    while (at := text.find(form, at + 1)) >= 0:
        yield at, at + len(form)


def _size(span: Span) -> int:
    return span[1] - span[0]


def escaped(text: str) -> set[str]:
    """Return the text as it is in shell, JSON and Python."""
    jsons = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    raw = repr(text.encode("utf-8", "replace"))[2:-1]
    return {text, *jsons, repr(text)[1:-1], ascii(text)[1:-1], raw}


def _further_texts(secret: str) -> Iterator[str]:
    """Yield the encodings of a secret, then the forms of its lines."""
    yield from encoded(secret)
    lines = secret.splitlines()
    if len(lines) > 1:
        long_lines = {line for line in lines if len(line) >= MIN_LINE_CHARACTERS}
        for line in sorted(long_lines, key=len, reverse=True):
            yield from escaped(line)


def encoded(secret: str) -> set[str]:
    """Return the secret in base64, also within a longer text, in hexadecimal, and as in a URL."""
    raw = secret.encode("utf-8", "surrogatepass")
    urls = {quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace")}
    urls |= {re.sub("%..", lambda found: found[0].lower(), url) for url in urls}
    forms = {raw.hex(), raw.hex().upper(), *urls, *_in_base64(raw)}
    return {form for form in forms if len(form) >= MIN_SECRET_CHARACTERS}


def _in_base64(raw: bytes) -> Iterator[str]:
    """Yield what is the same in any base64 text that contains these bytes, in both alphabets."""
    whole = base64.b64encode(raw).decode().rstrip("=")
    forms = [whole]
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw).decode()
        # The first and the last character may also depend on its neighbours.
        forms.append(text[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6])
    for form in forms:
        yield form
        yield form.replace("+", "-").replace("/", "_")
