"""The file transfers of one task: each is a step over SFTP within the task's time."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import asyncssh

from resop.archives.entry import File, TransferStats
from resop.errors import StepTimedOut, TaskCancelled
from resop.sftp.client import open_sftp
from resop.sftp.copy import copy
from resop.sftp.files import read_file, write_file
from resop.sftp.folders import read_folder, write_folder
from resop.ssh.session import Session
from resop.steps.step import StepRequest
from worker.resumed_steps import ResumeState, answer_not_recorded
from worker.step_journal import StepJournal
from worker.task_control import TaskControl

Answer = TypeVar("Answer")


class FileTransfers:
    """Transfers files between an operation and the cluster; blocks the calling thread."""

    def __init__(
        self,
        session: Session,
        control: TaskControl,
        journal: StepJournal,
        resume: ResumeState,
        on_progress: Callable[[float, float], None],
    ) -> None:
        """Set up; `on_progress` is called with the bytes done and the total of a copy."""
        self._session = session
        self._control = control
        self._journal = journal
        self._resume = resume
        self._on_progress = on_progress

    def put(self, content: bytes, path: str, mode: int | None, overwrite: bool) -> None:
        """Write a file: complete or not at all, unless its rights need it written in place."""
        self._transfer(
            f"put {shlex.quote(path)}",
            lambda sftp: write_file(sftp, self._session, content, path, mode, overwrite),
            content,
        )

    def get(self, path: str, limit: int) -> File:
        """Read a file of at most `limit` bytes."""
        return self._transfer(f"get {shlex.quote(path)}", lambda sftp: read_file(sftp, path, limit))

    def put_folder(self, content: bytes, path: str, merge: bool) -> TransferStats:
        """Write a folder from a tar archive that was checked before."""
        return self._transfer(
            f"put {shlex.quote(path)}/",
            lambda sftp: write_folder(sftp, self._session, content, path, merge),
        )

    def get_folder(self, path: str, limit: int) -> bytes:
        """Read a folder as a tar archive of at most `limit` bytes."""
        return self._transfer(
            f"get {shlex.quote(path)}/", lambda sftp: read_folder(sftp, path, limit)
        )

    def copy(self, source: str, target: str, overwrite: bool) -> TransferStats:
        """Copy a file or folder on the cluster."""
        return self._transfer(
            f"copy {shlex.quote(source)} {shlex.quote(target)}",
            lambda sftp: copy(sftp, self._session, source, target, overwrite, self._on_progress),
        )

    def _transfer(
        self,
        command: str,
        work: Callable[[asyncssh.SFTPClient], Awaitable[Answer]],
        content: bytes | None = None,
    ) -> Answer:
        return self._control.wait(self._run_recorded(f"sftp: {command}", work, content))

    async def _run_recorded(
        self,
        command: str,
        work: Callable[[asyncssh.SFTPClient], Awaitable[Answer]],
        content: bytes | None,
    ) -> Answer:
        """Run a transfer as a recorded step; `content` is given for one that only writes.

        A transfer is not durable, and what it read is not recorded: a previous worker's transfer
        can be skipped only if it wrote and has ended. Raises ContactLost for any other.
        """
        self._control.check_hand_off()
        request = StepRequest(command, command)
        step_id, previous = await self._resume.identify(request, content or b"", durable=False)
        if previous is not None:
            if content is None or previous.seconds is None:
                raise answer_not_recorded(previous)
            return cast(Answer, None)
        async with self._journal.recorded(command, step_id=step_id):
            return await self._run(work)

    async def _run(self, work: Callable[[asyncssh.SFTPClient], Awaitable[Answer]]) -> Answer:
        seconds = self._control.remaining()
        try:
            async with asyncio.timeout(seconds), open_sftp(self._session, seconds) as sftp:
                return await work(sftp)
        except TimeoutError:
            raise StepTimedOut("the transfer reached the task's time limit") from None
        except asyncio.CancelledError:
            raise TaskCancelled("the task was cancelled and its transfer was ended") from None
