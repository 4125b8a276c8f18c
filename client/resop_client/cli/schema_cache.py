"""The OpenAPI document of a service, stored between runs, and asked for again by its ETag."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from resop_client.cli.schema import Schema
from resop_client.transport import answer_json
from resop_client.version import check_service_version

if TYPE_CHECKING:
    from resop_client import Resop

FRESH_SECONDS = 300.0
"""How long the stored document is used without asking whether it has changed."""


class SchemaCache:
    """The stored documents of services, each in a file of its own."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use the user's cache folder unless another is given."""
        self._folder = folder or platformdirs.user_cache_path("resop") / "schemas"

    def stored(self, url: str) -> Schema | None:
        """Return the stored document of a service, however old it is."""
        found = self._read(url)
        return Schema(found["document"]) if found else None

    def load(self, hpc: Resop, *, renew: bool = False) -> Schema:
        """Return the document of a service: the stored one, if it is new or has not changed.

        Raises VersionMismatch for a service that is too old or too new.
        """
        found = self._read(hpc.url)
        if found and not renew and 0 <= time.time() - found["checked"] < FRESH_SECONDS:
            return Schema(found["document"])
        headers = {"If-None-Match": found["etag"]} if found and found["etag"] else {}
        response = hpc.connection.request("GET", "/openapi.json", headers=headers)
        if found and response.status_code == 304:
            self._write(hpc.url, found["etag"], found["document"])
            return Schema(found["document"])
        document = answer_json(response)
        schema = Schema(document)
        check_service_version(schema.version, hpc.url)
        self._write(hpc.url, response.headers.get("etag", ""), document)
        return schema

    def _file(self, url: str) -> Path:
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.json"

    def _read(self, url: str) -> dict[str, Any] | None:
        try:
            found = json.loads(self._file(url).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        known = isinstance(found, dict) and found.keys() >= {"etag", "checked", "document"}
        return found if known else None

    def _write(self, url: str, etag: str, document: dict[str, Any]) -> None:
        content = {"etag": etag, "checked": time.time(), "document": document}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".schema-")
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(content, stream, separators=(",", ":"))
            Path(temporary).replace(self._file(url))
        except OSError:
            return  # a full or read-only disk: the document is fetched again next time
