"""Files of the cluster: read and write them, and transfer large ones so that a cut costs little."""

from __future__ import annotations

from pathlib import Path

import httpx2

from resop_client._async.connection import AsyncConnection
from resop_client._async.part_upload import AsyncPartUpload
from resop_client.clock import asleep, growing_pauses
from resop_client.errors import ConnectionFailed, RequestError, ServiceError, UploadMismatch
from resop_client.progress import Progress, progress_of
from resop_client.record import Record
from resop_client.transfers import (
    MAX_ATTEMPTS,
    PART_BYTES,
    FileInfo,
    check_file_digest,
    digest_header,
    file_info,
    partial_file,
    read_part,
    unpack_files,
    upload_id,
)
from resop_client.transport import answer_error, answer_json

_PATH = "/files"


class AsyncFiles:
    """The files of the cluster; a path is absolute, or relative to the home folder."""

    def __init__(self, connection: AsyncConnection) -> None:
        """Use the login of a connection."""
        self._connection = connection

    async def stat(self, path: str) -> FileInfo:
        """Return size, entity tag, time and mode of a file. Raises PathFailed."""
        response = await self._connection.request("HEAD", _PATH, params={"path": path})
        if response.status_code >= 400:
            await self._explain(path, response)
        return file_info(response)

    async def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a file, or its bytes from `start` to before `end`. Raises PathFailed."""
        last = "" if end is None else max(end - 1, 0)
        headers = {"Range": f"bytes={start}-{last}"} if start or end is not None else None
        if end is not None and end <= start:
            return b""
        response = await self._connection.request(
            "GET", _PATH, params={"path": path}, headers=headers
        )
        if response.status_code == 416:
            return b""  # the file ends before
        if response.status_code >= 400:
            raise answer_error(response)
        return response.content

    async def read_text(self, path: str) -> str:
        """Return a file of text in UTF-8."""
        return (await self.read(path)).decode()

    async def read_folder(self, path: str, *include: str) -> dict[str, bytes]:
        """Return the content of the files in a folder, by name, in one request.

        `include` are patterns such as `*.csv`; it is for files that fit into memory together.
        """
        response = await self._connection.request(
            "GET", "/folders", params={"path": path, "include": list(include)}
        )
        if response.status_code >= 400:
            raise answer_error(response)
        return unpack_files(response.content)

    async def write(
        self,
        path: str,
        content: bytes | str,
        *,
        mode: str | None = None,
        parents: bool = False,
        overwrite: bool = True,
        etag: str | None = None,
    ) -> Record:
        """Write a file: complete, or not at all.

        `parents` makes the folders above. `etag`: only if the file still has this entity tag.
        """
        data = content.encode() if isinstance(content, str) else content
        headers = {"Content-Digest": digest_header(data), **({"If-Match": etag} if etag else {})}
        response = await self._connection.request(
            "PUT",
            _PATH,
            params=_write_query(path, mode, parents=parents, overwrite=overwrite),
            headers={**headers, "Content-Type": "application/octet-stream"},
            content=data,
            repeatable=overwrite and etag is None,
        )
        written: Record = answer_json(response)
        return written

    async def remove(self, path: str) -> None:
        """Remove a file; of a symbolic link, the link."""
        response = await self._connection.request("DELETE", _PATH, params={"path": path})
        if response.status_code >= 400:
            raise answer_error(response)

    async def upload(
        self,
        source: str | Path,
        target: str,
        *,
        mode: str | None = None,
        parents: bool = False,
        overwrite: bool = True,
        progress: Progress | bool = False,
    ) -> Record:
        """Upload a file; what has arrived is not sent again, also in another run of the program.

        Each part is checked by its digest. The file appears complete, or not at all.
        """
        source = Path(source)
        size = source.stat().st_size
        show = progress_of(progress, source.name)
        if size <= PART_BYTES:
            content = source.read_bytes()
            written = await self.write(
                target, content, mode=mode, parents=parents, overwrite=overwrite
            )
            show(size, size)
            return written
        query = _write_query(target, mode, parents=parents, overwrite=overwrite)
        query["upload"] = upload_id(source, target)
        return await self._upload_parts(source, size, query, show)

    async def _upload_parts(
        self, source: Path, size: int, query: dict[str, str], show: Progress
    ) -> Record:
        attempts, pauses = 0, growing_pauses()
        received = await self._received(query)
        with source.open("rb") as file:
            while True:
                show(received, size)
                try:
                    content = read_part(file, received, min(PART_BYTES, size - received))
                    response = await self._send_part(content, received, size, query)
                    answer: Record = answer_json(response)
                    if response.status_code != 202:
                        show(size, size)
                        return answer
                    received, attempts, pauses = int(answer["received"]), 0, growing_pauses()
                except (ConnectionFailed, ServiceError, UploadMismatch):
                    attempts += 1
                    if attempts > MAX_ATTEMPTS:
                        raise
                    await asleep(next(pauses))
                    received = await self._received(query)

    def in_parts(
        self,
        path: str,
        *,
        mode: str | None = None,
        parents: bool = False,
        overwrite: bool = True,
    ) -> AsyncPartUpload:
        """Return an upload of a file whose content does not exist yet: `send` its parts."""
        return AsyncPartUpload(self, _write_query(path, mode, parents=parents, overwrite=overwrite))

    async def _send_part(
        self, content: bytes, start: int, size: int | None, query: dict[str, str]
    ) -> httpx2.Response:
        """Send a part of a file; `size` is None while the size of the file is unknown."""
        total = "*" if size is None else size
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"bytes {start}-{start + len(content) - 1}/{total}",
            "Content-Digest": digest_header(content),
        }
        return await self._connection.request(
            "PUT", _PATH, params=query, headers=headers, content=content
        )

    async def _received(self, query: dict[str, str]) -> int:
        """Return how many bytes of an upload have arrived."""
        wanted = {name: query[name] for name in ("path", "upload")}
        response = await self._connection.request("HEAD", _PATH, params=wanted)
        if response.status_code == 404:
            return 0
        if response.status_code >= 400:
            await self._explain(query["path"], response)
        return int(response.headers.get("upload-offset", 0))

    async def _abandon(self, query: dict[str, str]) -> None:
        """Remove what has arrived of an upload."""
        wanted = {name: query[name] for name in ("path", "upload")}
        response = await self._connection.request("DELETE", _PATH, params=wanted, repeatable=True)
        if response.status_code >= 400 and response.status_code != 404:
            raise answer_error(response)

    async def download(
        self,
        source: str,
        target: str | Path,
        *,
        checksum: bool = False,
        progress: Progress | bool = False,
    ) -> Path:
        """Download a file; what has arrived is not fetched again, also in another run.

        A folder as `target` gets the file under its own name. If the file changes meanwhile, it is
        fetched again. `checksum`: let the service read the file once more for a digest, and check
        it; without, the size is checked. The file appears complete, or not at all.
        """
        target = Path(target)
        if target.is_dir():
            target /= source.rstrip("/").rpartition("/")[2]
        show = progress_of(progress, target.name)
        attempts, pauses = 0, growing_pauses()
        while True:
            info = await self.stat(source)
            partial = partial_file(target, info.etag)
            before = partial.stat().st_size if partial.exists() else 0
            try:
                await self._fetch(source, partial, info, show)
                break
            except (ConnectionFailed, ServiceError):
                arrived = partial.stat().st_size if partial.exists() else 0
                attempts = 0 if arrived > before else attempts + 1
                if attempts > MAX_ATTEMPTS:
                    raise
                pauses = growing_pauses() if arrived > before else pauses
                await asleep(next(pauses))
        if checksum:
            query = {"path": source, "checksum": "sha256"}
            response = await self._connection.request("HEAD", _PATH, params=query, wait=600)
            check_file_digest(partial, response)
        partial.replace(target)
        return target

    async def _fetch(self, source: str, partial: Path, info: FileInfo, show: Progress) -> None:
        """Fetch what is missing of one version of a file."""
        with partial.open("ab") as file:
            arrived = file.tell()
            if arrived >= info.size > 0:
                show(info.size, info.size)
                return
            headers = {"Range": f"bytes={arrived}-", "If-Range": info.etag} if arrived else {}
            async with self._connection.stream(
                "GET", _PATH, params={"path": source}, headers=headers
            ) as response:
                if arrived and response.status_code != 206:
                    file.truncate(0)
                    arrived = 0
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
                    arrived += len(chunk)
                    show(arrived, max(info.size, arrived))
        if arrived < info.size:
            raise ConnectionFailed(f"{source}: {arrived} of {info.size} bytes have arrived")

    async def _explain(self, path: str, response: httpx2.Response) -> None:
        """Raise the error of an answer to HEAD, which has no body: GET has the same with one."""
        headers = {"Range": "bytes=0-0"}
        explained = await self._connection.request(
            "GET", _PATH, params={"path": path}, headers=headers
        )
        if explained.status_code >= 400:
            raise answer_error(explained)
        raise RequestError(f"{path}: the service answered {response.status_code}")


def _write_query(path: str, mode: str | None, *, parents: bool, overwrite: bool) -> dict[str, str]:
    """Return the query of a request that writes a file."""
    query = {"path": path}
    if mode is not None:
        query["mode"] = mode
    if parents:
        query["parents"] = "true"
    if not overwrite:
        query["overwrite"] = "false"
    return query
