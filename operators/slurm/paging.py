"""Answer with a part of a list: one page of it, and only the chosen fields of each entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, cast, get_type_hints, overload

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

MAX_PAGE = 100_000

Row = TypeVar("Row", bound=Mapping[str, Any])
Item = TypeVar("Item")

Limit = Annotated[
    int | None,
    Field(ge=1, le=MAX_PAGE, description="maximum number of entries (default: all)"),
]
Offset = Annotated[
    int | None,
    Field(ge=0, description="number of entries to skip: `next` of the previous page"),
]
CHOSEN_FIELDS = Field(min_length=1, description="only these fields of each entry (default: all)")
"""Describes the option `fields` of an operation."""


@dataclass(frozen=True)
class FieldOf:
    """Restricts a text to the field names of the entries, a TypedDict.

    fields: Annotated[list[Annotated[str, FieldOf(Node)]] | None, CHOSEN_FIELDS] = None
    """

    row: type

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of the names; the message for another one lists them."""
        names = [*get_type_hints(self.row)]
        return core_schema.custom_error_schema(
            core_schema.literal_schema(names),
            custom_error_type="explained",
            custom_error_message=f"must be a field of the answer: {', '.join(names)}",
        )


@dataclass(frozen=True)
class SomeFields:
    """Marks entries, of a TypedDict, that may have only some of their fields."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of the entry, in which no field is required."""
        full = cast("core_schema.TypedDictSchema", handler.resolve_ref_schema(handler(source)))
        fields = {name: {**each, "required": False} for name, each in full["fields"].items()}
        others = {key: value for key, value in full.items() if key not in ("fields", "ref")}
        return cast("core_schema.TypedDictSchema", {**others, "fields": fields})


class Page(TypedDict, Generic[Row]):
    """One page of a list."""

    items: list[Annotated[Row, SomeFields()]]
    """The entries, with the chosen fields only, if any were chosen."""
    total: int
    """The number of entries on all pages."""
    next: int | None
    """The `offset` of the next page; None on the last one."""


def is_page(fields: Sequence[str] | None, limit: int | None, offset: int | None) -> bool:
    """Return True if a request asks for a page or for chosen fields."""
    return (fields, limit, offset) != (None, None, None)


@overload
def page(
    items: Sequence[Row], fields: Sequence[str] | None, limit: int | None, offset: int | None
) -> Page[Row]: ...
@overload
def page(
    items: Sequence[Item],
    fields: Sequence[str] | None,
    limit: int | None,
    offset: int | None,
    describe: Callable[[Item], Row],
) -> Page[Row]: ...
def page(
    items: Sequence[Any],
    fields: Sequence[str] | None,
    limit: int | None,
    offset: int | None,
    describe: Callable[[Any], Any] | None = None,
) -> Page[Any]:
    """Return a page of `items`, which are in a stable order.

    `describe` makes the entry of an item, on this page only; without it, the items are entries.
    """
    shown = on_page(items, limit, offset)
    entries = [*shown] if describe is None else [*map(describe, shown)]
    if fields is not None:
        entries = [{name: entry[name] for name in fields} for entry in entries]
    end = (offset or 0) + len(shown)
    return Page(items=entries, total=len(items), next=end if end < len(items) else None)


def on_page(items: Sequence[Item], limit: int | None, offset: int | None) -> Sequence[Item]:
    """Return the items on a page."""
    start = offset or 0
    return items[start : None if limit is None else start + limit]
