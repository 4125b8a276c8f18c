"""Find all occurrences of a string, also overlapping ones, in time linear in the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Span = tuple[int, int]
"""The begin and the end of a part of a text."""

_TURNS_BEFORE_JUMP = 8
_HEAD_CHARACTERS = 8
_MAX_CANDIDATES = 16


def occurrences(text: str, form: str) -> Iterator[Span]:
    """Yield the parts of a text that `form` covers; overlapping occurrences are one part."""
    start = text.find(form)
    while start >= 0:
        end = _covered_end(text, form, start)
        yield start, end
        start = text.find(form, end)


def _covered_end(text: str, form: str, start: int) -> int:
    """Return the end of the part that overlapping occurrences from `start` on cover."""
    size, turns = len(form), 0
    # Each two turns of this loop go further by at least the form's length.
    while (first := text.find(form, start + 1, start + 2 * size - 1)) >= 0:
        if (turns := turns + 1) % _TURNS_BEFORE_JUMP == 0:
            period = first - start
            same = _length_of_repetition(text, start, period)
            start += max(0, same + period - size) // period * period
        # The last one, backwards by find(): rfind() is not linear.
        window = text[start + 1 : start + 2 * size - 1]
        back = window[::-1].find(form[::-1])
        start += 1 + len(window) - back - size if back >= 0 else 0
    return start + size


def _length_of_repetition(text: str, start: int, period: int) -> int:
    """Return for how many characters from `start` on each is also the one `period` later."""

    def is_same(length: int) -> bool:
        later = text[start + period : start + period + length]
        return len(later) == length and text.startswith(later, start)

    step = 1
    while is_same(step):
        step *= 2
    length = 0
    while step:
        if is_same(length + step):
            length += step
        step //= 2
    return length


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return the parts in their order; overlapping parts are one."""
    merged: list[Span] = []
    end = 0
    for span in sorted(spans):
        if merged and span[0] < end:
            if span[1] > end:
                merged[-1] = merged[-1][0], span[1]
        else:
            merged.append(span)
        end = merged[-1][1]
    return merged


def begins_at_end(text: str, form: str) -> int:
    """Return where the end of a text may cut off an occurrence of `form`, or the text's length.

    With very many places to check, an earlier one than necessary may be returned.
    """
    head = form[:_HEAD_CHARACTERS]
    at = text.find(head, max(0, len(text) - len(form) + 1))
    for _ in range(_MAX_CANDIDATES):
        if at < 0:
            break
        if form.startswith(text[at:]):
            return at
        at = text.find(head, at + 1)
    if at >= 0:
        return at
    for size in range(len(head) - 1, 0, -1):
        if text.endswith(form[:size]):
            return len(text) - size
    return len(text)
