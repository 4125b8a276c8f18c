"""Exports of the audit log: files of JSON lines that verify by themselves.

An export has the entries from before a moment with their digests, in the order of their chains,
and a closing line with a digest of the whole file. The file of a stream has such lines, too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from sqlalchemy import case, func, select

from resop.errors import SetupError
from resop.storage.audit_chain import EXPORTED, START, ChainKey, Position, mark
from resop.storage.audit_log import AuditLog
from resop.storage.audit_verify import ChainVerifier, chain_entries, claimed_prunings
from resop.storage.database import Database
from resop.storage.ids import lower_bound
from resop.storage.models import AUDIT, AuditEntry
from resop.storage.serializers import iso_time

_CLOSING = b'{"export":'


class Export(NamedTuple):
    """The facts in the closing line of an export."""

    before: datetime
    entries: int
    unchained: int
    """How many of them are in no chain."""
    after: dict[str, Position]
    """The entry before the first of each chain, if it was pruned earlier."""
    through: dict[str, Position]
    """The last exported entry of each chain."""
    sha256: str
    """The digest of all lines before the closing one."""


class Exported(NamedTuple):
    """The result of an export."""

    export: Export
    faults: list[str]
    """Why chains were left out."""


def entry_json(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry as JSON, as in exports and streams."""
    return entry.model_dump() | {"at": iso_time(entry.at)}


def export_entries(
    database: Database, log: AuditLog, keys: Sequence[ChainKey], before: datetime, file: Path
) -> Exported:
    """Write the entries from before a moment to a new file, and note that in the log.

    Chains that are broken are left out. Raises SetupError if the file exists or is not writable.
    """
    faults: list[str] = []
    with _new_file(file) as stream:
        writing = _ExportWriter(database, keys, before, stream)
        export = writing.write_all(faults)
        _close(stream, export, log.chain.key)
    options = {"before": iso_time(before), "file": str(file.absolute()), "entries": export.entries}
    log.add(mark(EXPORTED, {**options, "sha256": export.sha256}))
    return Exported(export, faults)


class _ExportWriter:
    """Writes the entries of one export."""

    def __init__(
        self, database: Database, keys: Sequence[ChainKey], before: datetime, stream: BinaryIO
    ) -> None:
        self._database = database
        self._keys = keys
        self._before = before
        self._stream = stream
        self._digest = hashlib.sha256()
        self._after = claimed_prunings(database)
        self._through: dict[str, Position] = {}

    def write_all(self, faults: list[str]) -> Export:
        """Write all entries that are in no broken chain, whose `faults` are added to the list."""
        count = unchained = self._write(unchained_before(self._database, self._before))
        for writer, last in last_before(self._database, self._before).items():
            first = self._after.get(writer, START).sequence
            if last > first:
                count += self._write_chain(writer, first, last, faults)
        after = {each: place for each, place in self._after.items() if each in self._through}
        return Export(
            self._before, count, unchained, after, self._through, self._digest.hexdigest()
        )

    def _write_chain(self, writer: str, first: int, last: int, faults: list[str]) -> int:
        """Verify a chain, then write its entries after `first`; return their number."""
        verifier = ChainVerifier(self._keys, self._after)
        try:
            for entry in chain_entries(self._database, writer, last):
                verifier.check(entry)
        except SetupError as fault:
            verifier.verdict.faults.append(fault.message)
        if verifier.verdict.faults:
            faults += verifier.verdict.faults
            return 0
        self._through[writer] = verifier.heads[writer]
        entries = chain_entries(self._database, writer, last)
        return self._write(each for each in entries if (each.sequence or 0) > first)

    def _write(self, entries: Iterable[AuditEntry]) -> int:
        count = 0
        for entry in entries:
            line = entry_line(entry)
            self._digest.update(line)
            self._stream.write(line)
            count += 1
        return count


def read_export(file: Path, keys: Sequence[ChainKey]) -> Export:
    """Verify an export. Raises SetupError, which says what is wrong with it."""
    export = _closing_line(file, keys)
    digest, verifier = hashlib.sha256(), ChainVerifier(keys, export.after)
    with file.open("rb") as lines:
        for line in lines:
            if line.startswith(_CLOSING):
                break
            digest.update(line)
            verifier.check(_entry_of(line, file))
        if lines.read(1):
            raise SetupError(f"{file}: something follows the closing line")
    verdict = verifier.verdict
    if verdict.faults:
        raise SetupError(f"{file}: {verdict.faults[0]}")
    if digest.hexdigest() != export.sha256 or verdict.entries != export.entries:
        raise SetupError(f"{file}: its lines are not the exported ones")
    if verifier.heads != export.through:
        raise SetupError(f"{file}: a chain does not end where the export says")
    return export


def entry_line(entry: AuditEntry) -> bytes:
    """Return an entry as one line of JSON, in ASCII."""
    return json.dumps(entry_json(entry)).encode() + b"\n"


def entries_of(file: Path) -> Iterator[AuditEntry]:
    """Yield the entries in a file of such lines. Raises SetupError for another line."""
    try:
        with file.open("rb") as lines:
            for line in lines:
                if not line.startswith(_CLOSING):
                    yield _entry_of(line, file)
    except OSError as fault:
        raise SetupError(f"{file} cannot be read: {fault.strerror}") from None


def _entry_of(line: bytes, file: Path) -> AuditEntry:
    try:
        return AuditEntry.model_validate(json.loads(line))
    except ValueError:  # of json and of pydantic
        shown = line[:60].decode("ascii", "backslashreplace")
        raise SetupError(f"{file}: not an entry of the audit log: {shown!r}") from None


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that only its owner can read; it is on the disk in the end, or deleted."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise SetupError(f"{path} exists: name a new file") from None
    except OSError as fault:
        path.unlink(missing_ok=True)
        raise SetupError(f"{path} cannot be written: {fault.strerror}") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _close(stream: BinaryIO, export: Export, key: ChainKey) -> None:
    """Write the closing line."""
    content = export._asdict() | {"before": iso_time(export.before)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    stream.write(b'%s%s,"digest":"%s"}\n' % (_CLOSING, text.encode(), _sign(key, text).encode()))


def _closing_line(file: Path, keys: Sequence[ChainKey]) -> Export:
    last = b""
    try:
        with file.open("rb") as lines:
            for line in lines:
                last = line
    except OSError as fault:
        raise SetupError(f"{file} cannot be read: {fault.strerror}") from None
    try:
        closing = json.loads(last)
        content = closing["export"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        genuine = any(hmac.compare_digest(_sign(key, text), closing["digest"]) for key in keys)
    except (ValueError, KeyError, TypeError):
        raise SetupError(f"{file} is no complete export: its closing line is missing") from None
    if not genuine:
        raise SetupError(f"{file}: the closing line was changed, or made with another SECRET_KEY")
    positions = {
        name: {writer: Position(*position) for writer, position in content[name].items()}
        for name in ("after", "through")
    }
    return Export(**(content | positions | {"before": datetime.fromisoformat(content["before"])}))


def _sign(key: ChainKey, text: str) -> str:
    return key.digest_of(b"export " + text.encode())


def unchained_before(database: Database, before: datetime) -> Iterator[AuditEntry]:
    """Yield the entries from before a moment that are in no chain."""
    first_kept = lower_bound(before)
    for entry in chain_entries(database, None):
        if entry.id >= first_kept:
            return
        if entry.at < before:
            yield entry


def last_before(database: Database, before: datetime | None) -> dict[str, int]:
    """Return, for each chain, the number of its last entry with none from `before` on up to it."""
    last = func.max(AUDIT.c.sequence)
    first_kept = func.min(case((AUDIT.c.at >= before, AUDIT.c.sequence))) if before else last + 1
    query = select(AUDIT.c.writer, last, first_kept).where(AUDIT.c.writer.is_not(None))
    with database.read() as db:
        rows = db.execute(query.group_by(AUDIT.c.writer)).all()
    return {writer: last if kept is None else kept - 1 for writer, last, kept in rows}
