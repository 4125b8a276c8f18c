"""The common parts of uploads and downloads: parts, digests, and the names of unfinished files."""

from __future__ import annotations

import base64
import hashlib
import io
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import httpx2

from resop_client.errors import DigestMismatch, RequestError

PART_BYTES = 64 << 20
"""Longer files are uploaded in parts of this size: what has arrived is not sent again."""
CHUNK_BYTES = 1 << 20
MAX_ATTEMPTS = 20
"""Attempts in a row that bring nothing before a transfer is given up."""
PARTIAL_SUFFIX = ".resop-part"


class FileInfo(NamedTuple):
    """A file of the cluster."""

    size: int
    etag: str
    modified: float
    """Seconds since 1970."""
    mode: str
    """The permissions in octal."""


def file_info(response: httpx2.Response) -> FileInfo:
    """Return the facts in the headers of an answer about a file."""
    headers = response.headers
    modified = headers.get("last-modified")
    return FileInfo(
        int(headers.get("content-length", 0)),
        headers.get("etag", ""),
        parsedate_to_datetime(modified).timestamp() if modified else 0.0,
        headers.get("x-file-mode", ""),
    )


def upload_id(source: Path, target: str) -> str:
    """Return the same id for the same file and target, also in another run of the program."""
    found = source.stat()
    text = f"{source.resolve()}\0{target}\0{found.st_size}\0{found.st_mtime_ns}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def partial_file(target: Path, etag: str) -> Path:
    """Return the file beside a download's target that has what has arrived of this version."""
    version = hashlib.sha256(etag.encode()).hexdigest()[:12]
    return target.with_name(f".{target.name}.{version}{PARTIAL_SUFFIX}")


def read_part(file: BinaryIO, start: int, size: int) -> bytes:
    """Return a part of a file. Raises RequestError if the file has become shorter."""
    file.seek(start)
    content = file.read(size)
    if len(content) != size:
        raise RequestError("the file was changed during its upload: upload it again")
    return content


def digest_header(content: bytes) -> str:
    """Return the digest of a content as the value of a header field (RFC 9530)."""
    digest = hashlib.sha256(content).digest()
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def check_file_digest(path: Path, response: httpx2.Response) -> None:
    """Raise DigestMismatch if a file is not the one that the service has announced."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            hasher.update(block)
    expected = f"sha-256=:{base64.b64encode(hasher.digest()).decode()}:"
    if response.headers.get("repr-digest") != expected:
        raise DigestMismatch(f"{path}: what arrived is not what the cluster has", retryable=True)


def unpack_files(archive: bytes) -> dict[str, bytes]:
    """Return the content of the files in a tar archive, by name."""
    import tarfile  # here, since few programs need it

    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for member in tar:
            if (file := tar.extractfile(member)) is not None:
                files[member.name.removeprefix("./")] = file.read()
    return files
