"""Read the items of a batch from a table: CSV (RFC 4180), or newline-delimited JSON.

The header of a CSV names options. Spreadsheets write their own kinds of CSV, which are all read:
with a byte order mark, with `;` or tabs between the cells, with any line ends, with rows of empty
cells at the end.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import Request
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from starlette.concurrency import run_in_threadpool

from api.http.body import (
    MAX_VALUES,
    check_number_of_values,
    content_type,
    parse_json,
    read_body,
)
from resop.actions.option_types import takes_list
from resop.actions.options import option_names, unknown_name
from resop.actions.spellings import names_by_alias
from resop.actions.sweep import BatchItem, check_count
from resop.errors import InvalidOptions, UnsupportedBody

CSV_TYPES = ("text/csv", "application/csv", "text/tab-separated-values")
JSON_LINES_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
TABLE_TYPES = (*CSV_TYPES, *JSON_LINES_TYPES)
MAX_TABLE_FAULTS = 1000
"""Faults of a table that an answer lists."""
LIST_SEPARATOR = "|"
"""Between the values of a list in one cell."""
DELIMITERS = (",", ";", "\t")
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_UTF_8_NAMES = ("", "utf-8", "utf8", "us-ascii", "ascii")
_DELIMITER_LINE = re.compile(r"sep=(.)[\r\n]+", re.IGNORECASE)
"""A first line for Excel that names the delimiter."""
_JSON_COLUMN = re.compile(r" at line 1 column ([0-9]+)$")
_CHARSET = re.compile(r';\s*charset="?([^";\s]*)', re.IGNORECASE)


@dataclass(slots=True)
class ItemTable:
    """The items of a table, and what is wrong with it."""

    items: list[BatchItem] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    """The line on which each item begins, from 1."""
    item_faults: dict[int, str] = field(default_factory=dict)
    """The faults of whole rows, by the number of their item, which is empty then."""
    faults: list[dict[str, str]] = field(default_factory=list)
    """Faults that make the table unreadable."""

    def add(self, line: int, item: BatchItem, fault: str = "") -> None:
        """Append an item, or an empty one with what is wrong with its row."""
        if fault:
            self.item_faults[len(self.items)] = fault
        self.items.append(item)
        self.lines.append(line)

    def refuse(self, place: str, message: str) -> None:
        """Note a fault that makes the table unreadable."""
        if len(self.faults) < MAX_TABLE_FAULTS:
            self.faults.append({"field": place, "message": message})

    def place(self, number: int, name: str = "") -> str:
        """Return where an item's option is, for people: `line 7, mail`."""
        return f"line {self.lines[number]}" + (f", {name}" if name else "")


def is_table(request: Request) -> bool:
    """Return True if the body is a table."""
    return content_type(request) in TABLE_TYPES


async def read_table(request: Request, model: type[BaseModel], limit: int) -> ItemTable:
    """Return the items in a request's body, at most `limit`, not yet validated with `model`.

    Raises BodyTooLarge; UnsupportedBody for another encoding than UTF-8; InvalidOptions, with all
    faults, if columns are wrong, or if there are too many items or none.
    """
    charset = _CHARSET.search(request.headers.get("content-type", ""))
    if charset and charset[1].lower() not in _UTF_8_NAMES:
        raise UnsupportedBody(f"the table is in {charset[1][:40]!r}: send it as UTF-8")
    body = await read_body(request)
    return await run_in_threadpool(parse_table, body, content_type(request), model, limit)


def parse_table(body: bytes, kind: str, model: type[BaseModel], limit: int) -> ItemTable:
    """Return the items of a table of this media type. Raises InvalidOptions, as `read_table`."""
    table = ItemTable()
    text = _decode(body, table)
    if kind in JSON_LINES_TYPES:
        check_number_of_values(body)
        _read_json_lines(text, table, limit)
    else:
        _CsvReader(text, model, table, limit).read()
    if not table.items and not table.faults:
        table.refuse("body", "is a table without a row")
    if not table.items:
        raise InvalidOptions(table.faults)
    return table


def _decode(body: bytes, table: ItemTable) -> str:
    """Return the text, with U+FFFD for what is not UTF-8, each line of which is noted."""
    if body.startswith(_UTF_16):
        raise InvalidOptions.of("body", "is UTF-16: save the table as UTF-8 (Excel: CSV UTF-8)")
    body = body.removeprefix(_BOM)
    try:
        return body.decode()
    except UnicodeDecodeError:
        for number, line in enumerate(body.split(b"\n"), 1):
            _note_undecodable(number, line, table)
        return body.decode(errors="replace")


def _note_undecodable(number: int, line: bytes, table: ItemTable) -> None:
    try:
        line.decode()
    except UnicodeDecodeError as fault:
        column = len(line[: fault.start].decode()) + 1
        byte = line[fault.start]
        likely = bytes([byte]).decode("cp1252", "replace")
        meaning = f" ({likely!r} in Windows-1252)" if likely.isprintable() else ""
        message = f"byte 0x{byte:02X}{meaning} is not UTF-8: save the table as UTF-8"
        table.refuse(f"line {number}, column {column}", message)


def _read_json_lines(text: str, table: ItemTable, limit: int) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = parse_json(line)
        except InvalidOptions as fault:
            for each in fault.details["faults"]:
                table.refuse(f"line {number}, {each['field']}", each["message"])
        except ValueError as fault:
            column = _JSON_COLUMN.search(str(fault))
            place = f"line {number}" + (f", column {column[1]}" if column else "")
            table.refuse(place, f"is not valid JSON: {_JSON_COLUMN.sub('', str(fault))}")
        else:
            is_item = isinstance(item, dict)
            table.add(number, item if is_item else {}, "" if is_item else "must be a JSON object")
            check_count("body", len(table.items), limit)


class _CsvReader:
    """Reads one CSV into a table."""

    def __init__(self, text: str, model: type[BaseModel], table: ItemTable, limit: int) -> None:
        self._table = table
        self._limit = limit
        self._fields: Mapping[str, FieldInfo] = {
            each.alias or name: each for name, each in model.model_fields.items()
        }
        self._known = option_names(model)
        self._names = names_by_alias(model)
        chosen = _DELIMITER_LINE.match(text)
        self._skipped_lines = 1 if chosen else 0
        self._text = text[chosen.end() :] if chosen else text
        self._delimiter = chosen[1] if chosen else _guess_delimiter(text)
        self._columns: list[str] = []
        self._lists: set[str] = set()
        self._values = 0

    def read(self) -> None:
        """Read all rows. Raises InvalidOptions if columns are wrong, or for too many values."""
        for line, row in self._rows():
            if not any(cell.strip() for cell in row):
                continue
            if self._columns:
                self._add(line, row)
            else:
                self._read_header(line, row)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row with its line; a row that cannot be read is noted."""
        lines = _lines(self._text)
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True, skipinitialspace=True)
        while True:
            begin = reader.line_num
            line = begin + self._skipped_lines + 1
            try:
                yield line, next(reader)
            except StopIteration:
                return
            except csv.Error as fault:
                record = "".join(lines[begin : reader.line_num])
                self._note_unreadable(line, record, str(fault))

    def _note_unreadable(self, line: int, record: str, reason: str) -> None:
        place, is_closed = _quote_fault(record, self._delimiter)
        if place is None:
            self._table.refuse(f"line {line}", reason)
            return
        before = _lines(record[:place])
        unfinished = before[-1] if before and before[-1][-1] not in "\r\n" else ""
        number = line + len(before) - (1 if unfinished else 0)
        message = "a quote is never closed"
        if is_closed:
            message = 'text follows a closing quote: write "" for a quote inside of quotes'
        self._table.refuse(f"line {number}, column {len(unfinished) + 1}", message)

    def _read_header(self, line: int, row: Sequence[str]) -> None:
        cells = [cell.strip() for cell in row]
        names = [self._names.get(cell, cell) for cell in cells]
        while not names[-1]:
            names.pop()
        self._lists = {name for name, each in self._fields.items() if takes_list(each.annotation)}
        counts, faults_before = Counter(names), len(self._table.faults)
        for number, name in enumerate(names, 1):
            place = f"line {line}, column {number}"
            if not name:
                self._table.refuse(place, "has no name")
            elif name not in self._fields:
                message = unknown_name("option", name[:100], self._known, suggest=number <= 20)
                self._table.refuse(place, message)
            elif counts[name] > 1 and name not in self._lists:
                self._table.refuse(place, f"'{name}' is more than one column, but takes one value")
        for name, each in self._fields.items():
            if each.is_required() and name not in names:
                self._table.refuse(f"line {line}", f"the column '{name}' is missing")
        if len(self._table.faults) > faults_before:
            raise InvalidOptions(self._table.faults)
        self._columns = names

    def _add(self, line: int, row: Sequence[str]) -> None:
        cells, columns = list(row), len(self._columns)
        while len(cells) > columns and not cells[-1].strip():
            cells.pop()
        fault = ""
        if len(cells) != columns:
            count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            fault = f"has {count}, but the header has {columns} columns"
        self._table.add(line, {} if fault else self._item(cells), fault)
        check_count("body", len(self._table.items), self._limit)

    def _item(self, cells: Sequence[str]) -> BatchItem:
        item: BatchItem = {}
        for name, cell in zip(self._columns, cells, strict=True):
            if cell == "":
                continue
            if name in self._lists:
                parts = [part.strip() for part in cell.split(LIST_SEPARATOR)]
                item[name] = [*item.get(name, []), *(part for part in parts if part)]
            else:
                item[name] = cell
            self._values += 1
        if self._values > MAX_VALUES:
            raise InvalidOptions.of("body", f"has more than {MAX_VALUES} values")
        return item


def _guess_delimiter(text: str) -> str:
    """Return what separates the names in the header."""
    header = next((line for line in _lines(text) if line.strip(" ,;\t\r\n")), "")
    return max(DELIMITERS, key=header.count)


def _lines(text: str) -> list[str]:
    """Return the lines with their ends: LF, CR LF or CR, and no others."""
    return io.StringIO(text, newline="").readlines()


def _quote_fault(record: str, delimiter: str) -> tuple[int | None, bool]:
    """Return where the quotes of a record are wrong, and True if text follows a closed one."""
    end_of_cell, at = re.compile(f"[{re.escape(delimiter)}\r\n]"), 0
    while at < len(record):
        if record[at] == " ":
            at += 1
            continue
        if record[at] == '"':
            opened, at = at, record.find('"', at + 1)
            while at >= 0 and record[at + 1 : at + 2] == '"':
                at = record.find('"', at + 2)
            if at < 0:
                return opened, False
            at += 1
            if at < len(record) and not end_of_cell.match(record, at):
                return at, True
        elif end := end_of_cell.search(record, at):
            at = end.start()
        else:
            break
        at += 1
    return None, False
