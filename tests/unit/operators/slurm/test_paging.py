"""Pages of long lists, and the chosen fields of their entries."""

from typing import Annotated, Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from operators.slurm.paging import FieldOf, Page, is_page, page


class Entry(TypedDict):
    name: str
    cpus: int


ENTRIES = [Entry(name=f"cn{n}", cpus=n) for n in range(5)]


def test_pages_of_a_list_are_the_list() -> None:
    for limit in (1, 2, 4, 5, 6):
        shown: list[Entry] = []
        offset: int | None = 0
        while offset is not None:
            part = page(ENTRIES, None, limit, offset)
            assert part["total"] == 5
            assert 0 < len(part["items"]) <= limit
            shown += part["items"]
            offset = part["next"]
        assert shown == ENTRIES
    everything = page(ENTRIES, None, None, None)
    assert everything == Page(items=ENTRIES, total=5, next=None)
    assert page(ENTRIES, None, 2, 9) == Page(items=[], total=5, next=None)
    assert page(ENTRIES[:0], None, 2, None) == Page(items=[], total=0, next=None)


def test_entries_have_the_chosen_fields_in_their_order() -> None:
    described: list[int] = []

    def describe(number: int) -> Entry:
        described.append(number)
        return ENTRIES[number]

    part = page(range(5), ["cpus", "name"], 2, 1, describe)
    assert [[*entry.items()] for entry in part["items"]] == [
        [("cpus", 1), ("name", "cn1")],
        [("cpus", 2), ("name", "cn2")],
    ]
    assert (part["next"], described) == (3, [1, 2])
    assert [*map(dict, page(ENTRIES, ["cpus"], None, 4)["items"])] == [{"cpus": 4}]


def test_a_page_is_what_any_of_the_options_asks_for() -> None:
    assert not is_page(None, None, None)
    assert is_page(["name"], None, None)
    assert is_page(None, 1, None)
    assert is_page(None, None, 0)


def test_schema_names_the_fields_and_requires_none_on_a_page() -> None:
    names: Any = TypeAdapter(Annotated[str, FieldOf(Entry)]).json_schema()
    assert names == {"enum": ["name", "cpus"], "type": "string"}
    schema = TypeAdapter(list[Entry] | Page[Entry]).json_schema()
    in_page = schema["$defs"]["Page_Entry_"]["properties"]["items"]["items"]
    assert [*in_page["properties"]] == ["name", "cpus"]
    assert "required" not in in_page
    assert schema["$defs"]["Entry"]["required"] == ["name", "cpus"]
