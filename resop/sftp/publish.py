"""Put a complete file into its place, without widening the rights of a file that it replaces.

A file is replaced by a rename where the new file can have the same owner, group, permissions, ACL
and extended attributes. Elsewhere the content is written into the existing file, which keeps them.
"""

from __future__ import annotations

import contextlib
import stat
from dataclasses import dataclass
from datetime import datetime

import asyncssh

from resop.archives.entry import NEW_FILE_MODE
from resop.errors import PathFailed
from resop.sftp.client import display_path, mode_of, remove_quietly
from resop.sftp.copy_data import copy_content
from resop.sftp.rights import RightsKeeper
from resop.sftp.target import Target, translate_disk_full
from resop.ssh.session import Session


@dataclass(frozen=True, slots=True)
class FileAttributes:
    """The attributes that a complete file gets."""

    mode: int | None = None
    """The permissions; None keeps those of the file that is replaced."""
    new_mode: int = NEW_FILE_MODE
    """The permissions of a file that replaces none, if `mode` is None."""
    modified: int | None = None
    """The modification time, in seconds since 1970; None for now."""

    @classmethod
    def of(cls, mode: int | None, modified: datetime | None = None) -> FileAttributes:
        """Return the attributes that a caller asked for."""
        return cls(mode, modified=None if modified is None else int(modified.timestamp()))

    def to_sftp(self, mode: int | None) -> asyncssh.SFTPAttrs:
        """Return them for SFTP, with these permissions."""
        return asyncssh.SFTPAttrs(permissions=mode, atime=self.modified, mtime=self.modified)


class FilePublisher:
    """Puts complete files into their places, in the session of one user."""

    def __init__(self, sftp: asyncssh.SFTPClient, session: Session) -> None:
        self._sftp = sftp
        self._rights = RightsKeeper(session)

    async def publish(
        self, target: Target, temp_path: bytes, attributes: FileAttributes, overwrite: bool
    ) -> None:
        """Move a complete and closed file to its target.

        Of several concurrent writers without `overwrite`, one succeeds; the others raise
        PathFailed. A symbolic link at the target is replaced: `resolve_target` follows it.
        PathFailed with `denied` also tells that the existing file's rights cannot be kept and the
        user may not write to it. Raises SFTP's errors and ContactLost as well.
        """
        existing = await self._existing_file(target) if overwrite else None
        mode = attributes.mode
        if existing is None:
            mode = attributes.new_mode if mode is None else mode
        elif await self._rights.copy(target.real_path, temp_path):
            if mode is None and stat.S_IMODE(existing.permissions or 0) & ~0o777:
                mode = mode_of(existing)  # new content is not trusted with setuid
        else:
            await self._write_in_place(target, temp_path, attributes)
            return
        if mode is not None or attributes.modified is not None:
            await self._sftp.setstat(temp_path, attributes.to_sftp(mode))
        await self._rename(target, temp_path, overwrite)

    async def _existing_file(self, target: Target) -> asyncssh.SFTPAttrs | None:
        try:
            existing = await self._sftp.lstat(target.real_path)
        except asyncssh.SFTPNoSuchFile:
            return None
        return existing if stat.S_ISREG(existing.permissions or 0) else None

    async def _rename(self, target: Target, temp_path: bytes, overwrite: bool) -> None:
        sftp = self._sftp
        try:
            # A plain rename replaces nothing (draft-ietf-secsh-filexfer-02, 6.5).
            await (sftp.posix_rename if overwrite else sftp.rename)(temp_path, target.real_path)
        except asyncssh.SFTPFailure as error:
            if not overwrite and await sftp.exists(target.real_path):
                raise PathFailed(display_path(target.path), "exists") from error
            raise PathFailed(display_path(target.path), "failed", str(error)) from error

    async def _write_in_place(
        self, target: Target, temp_path: bytes, attributes: FileAttributes
    ) -> None:
        """Copy the complete content into the existing file, and remove the temporary one.

        Raises PathFailed if the user may not write to the existing file; it is unchanged then.
        """
        size = (await self._sftp.stat(temp_path)).size or 0
        try:
            file = await self._sftp.open(target.real_path, "r+b")
            async with file:
                if attributes.mode is not None:
                    await file.setstat(asyncssh.SFTPAttrs(permissions=attributes.mode))
                async with translate_disk_full(self._sftp, target, size):
                    await copy_content(self._sftp, temp_path, file, size)
                    await file.truncate(size)
        except asyncssh.SFTPPermissionDenied as error:
            raise PathFailed(display_path(target.path), "denied", _NOT_REPLACED) from error
        if attributes.modified is not None:
            # Only the owner of a file may set its times.
            with contextlib.suppress(asyncssh.SFTPPermissionDenied):
                await self._sftp.setstat(target.real_path, attributes.to_sftp(None))
        await remove_quietly(self._sftp, temp_path)


_NOT_REPLACED = (
    "permission denied: a new file could not have the owner, group, permissions, ACL and extended "
    "attributes of the existing one, which you may not write to or change"
)
