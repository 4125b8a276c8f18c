"""Tables as the body of a batch: what spreadsheets write is read, every fault has its place."""

import codecs
from typing import Any

import pytest
from pydantic import BaseModel

from api.http.body import MAX_VALUES
from api.http.table_body import ItemTable, parse_table
from resop.errors import InvalidOptions


class Person(BaseModel):
    """Options of an action."""

    username: str
    mail: str
    groups: list[str] | None = None
    number: int = 0


ADA: dict[str, Any] = {"username": "ada", "mail": "a@b"}


def read(body: bytes | str, kind: str = "text/csv", limit: int = 1000) -> ItemTable:
    return parse_table(body.encode() if isinstance(body, str) else body, kind, Person, limit)


def refusal(body: bytes | str, kind: str = "text/csv") -> dict[str, str]:
    """Return the messages by their places."""
    with pytest.raises(InvalidOptions) as refused:
        read(body, kind)
    return {each["field"]: each["message"] for each in refused.value.details["faults"]}


def test_every_kind_of_csv_that_spreadsheets_write_is_read() -> None:
    for body, items in {
        "username,mail\nada,a@b\n": [ADA],
        "username;mail;number\r\nada;a@b;7\r\n;;\r\n": [{**ADA, "number": "7"}],
        "mail\tusername\na@b\tada": [ADA],
        "sep=;\r\nusername;mail\r\nada;a@b\r\n": [ADA],
        "sep=|\nusername|mail\nada|a@b": [ADA],
        "\n\nusername,mail,,\n\nada,a@b,,\n\n": [ADA],
        "username , mail\rada, a@b\r": [ADA],
        'username, mail\nada, "a,  b"\n': [{"username": "ada", "mail": "a,  b"}],
        '"username","mail"\n"ada","a@b"\n': [ADA],
        'username,mail\n"a ""q"" , b","two\r\nlines"\n': [
            {"username": 'a "q" , b', "mail": "two\r\nlines"}
        ],
        "username,mail,groups\nada,a@b,x | y\nbob,,z": [
            {**ADA, "groups": ["x", "y"]},
            {"username": "bob", "groups": ["z"]},
        ],
        "username,mail,groups,groups\nada,a@b,x,y|z": [{**ADA, "groups": ["x", "y", "z"]}],
        "username,mail\n=1+1,a|b\x85c": [{"username": "=1+1", "mail": "a|b\x85c"}],
    }.items():
        for bom in (b"", codecs.BOM_UTF8):
            table = read(bom + body.encode())
            assert (table.items, table.faults, table.item_faults) == (items, [], {}), body


def test_items_know_the_lines_on_which_they_begin() -> None:
    table = read('sep=,\nusername,mail\nada,"1\n2"\n\nbob,b\nshort\ncy,c,d\n')
    assert table.lines == [3, 6, 7, 8]
    assert table.item_faults == {
        2: "has 1 cell, but the header has 2 columns",
        3: "has 3 cells, but the header has 2 columns",
    }
    assert table.place(1, "mail") == "line 6, mail"


def test_all_faults_of_a_file_are_told_with_line_and_column() -> None:
    table = read(
        b'username,mail\nada,"a"x\nb\xc3\xb6b,b\xfc\n"""q""",x\ncy,c@d\n'
        b'dora, "1\n2" 3\neve,"e\nf,g\n'
    )
    assert [(each["field"], each["message"]) for each in table.faults] == [
        (
            "line 3, column 6",
            "byte 0xFC ('ü' in Windows-1252) is not UTF-8: save the table as UTF-8",
        ),
        ("line 2, column 8", 'text follows a closing quote: write "" for a quote inside of quotes'),
        ("line 7, column 3", 'text follows a closing quote: write "" for a quote inside of quotes'),
        ("line 8, column 5", "a quote is never closed"),
    ]
    assert [each["username"] for each in table.items] == ["böb", '"q"', "cy"]


def test_columns_that_are_no_options_are_told_at_once() -> None:
    assert refusal("usernam,mail,mail,,x\nada,a@b,c,d,e\n") == {
        "line 1": "the column 'username' is missing",
        "line 1, column 1": "unknown option 'usernam'; did you mean 'username'? "
        "(options: username, mail, groups, number)",
        "line 1, column 2": "'mail' is more than one column, but takes one value",
        "line 1, column 3": "'mail' is more than one column, but takes one value",
        "line 1, column 4": "has no name",
        "line 1, column 5": "unknown option 'x' (options: username, mail, groups, number)",
    }


def test_what_is_no_table_is_refused() -> None:
    for body, place, message in (
        ("", "body", "is a table without a row"),
        ("username,mail\n\n,,\n", "body", "is a table without a row"),
        ("username,mail\nada,b".encode("utf-16"), "body", "is UTF-16: save the table as UTF-8 "),
        ("username,mail\n" + "a,b\n" * 1001, "body", "gives 1001 sets of parameters; at most 1000"),
        ("username,mail,groups\na,b," + "|".join("x" * 9), "", ""),
    ):
        if place:
            assert refusal(body)[place].startswith(message)
        else:
            assert read(body).items[0]["groups"] == ["x"] * 9
    cells = "username,mail" + ",groups" * 200
    wide = f"{cells}\n" + "\n".join([",".join(["x"] * 202)] * (MAX_VALUES // 202 + 1))
    assert refusal(wide) == {"body": f"has more than {MAX_VALUES} values"}


def test_json_lines_are_items_and_each_bad_line_is_told() -> None:
    table = read('{"username": "ada", "groups": ["x"]}\r\n\n{"number": 1}\n', "application/jsonl")
    assert table.items == [{"username": "ada", "groups": ["x"]}, {"number": 1}]
    assert table.lines == [1, 3]
    mixed = read('{"a": 1, "a": 2}\n{"b":\n[1]\n{"c": NaN}\n', "application/x-ndjson")
    assert mixed.item_faults == {0: "must be a JSON object"}
    assert [each["field"] for each in mixed.faults] == [
        *("line 1, a", "line 2, column 5", "line 4, column 7"),
    ]
