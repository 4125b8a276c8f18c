"""Tell lists and flags by the type of an option, however an author spells that type."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

_LISTS = (list, tuple, set, frozenset, deque)


def takes_list(annotation: Any) -> bool:
    """Return True if an option takes only lists: `list[str]`, `set[str] | None`, an alias of it."""
    found = list(_alternatives(annotation))
    return bool(found) and all(map(_is_list, found))


def is_flag(annotation: Any) -> bool:
    """Return True if an option is true or false and nothing else, except null."""
    found = list(_alternatives(annotation))
    return bool(found) and all(each is bool for each in found)


def takes_flag(annotation: Any) -> bool:
    """Return True if true is among the values of an option, or of the items of a list."""
    return any(
        each is bool or (_is_list(each) and any(map(takes_flag, get_args(each))))
        for each in _alternatives(annotation)
    )


def _is_list(annotation: Any) -> bool:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return issubclass(annotation, _LISTS)
    origin = get_origin(annotation)
    return (
        isinstance(origin, type)
        and issubclass(origin, Collection)
        and not issubclass(origin, Mapping)
    )


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation permits, through aliases and metadata, except None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for each in get_args(annotation):
            yield from _alternatives(each)
    elif (alias := _alias(annotation) or _alias(origin)) is not None:
        yield from _alternatives(alias)
    elif annotation is not NoneType:
        yield annotation


def _alias(annotation: Any) -> Any:
    """Return what a TypeAliasType (`type Names = …`) or NewType stands for, else None."""
    return getattr(annotation, "__value__", None) or getattr(annotation, "__supertype__", None)
