"""Give a new file the owner, group, permissions, ACL and extended attributes of another.

SFTP knows neither ACLs nor extended attributes, so this runs a script on the login node: GNU's `cp`
copies all of them, and the script compares what it can see of both files afterwards.
"""

from __future__ import annotations

import asyncio
import logging

from resop.errors import ClusterError, ContactLost, ResopError, StepTimedOut
from resop.ssh.session import Session
from resop.steps.quoting import login_shell_script
from resop.steps.step import StepRequest

log = logging.getLogger(__name__)

SCRIPT_TIMEOUT = 60.0
CHANNEL_TIMEOUT = 5.0
"""Seconds to wait where the transfer may have the only channel."""
MAX_PAIRS = 200
"""Pairs of files for one run of the script."""

PAIRS = b"pairs\n"
"""The line before the first pair."""
PADDING = b"\n" * 20
"""Lines that a start-up file may read in place of pairs."""

# Each pair is two lines in the encoding of printf's %b. The output is one line for each pair.
_SCRIPT = """while IFS= read -r line && [ "$line" != pairs ]; do :; done
describe() {
  stat -c '%u:%g %a' "$1" || return
  case $(LC_ALL=C ls -ld "$1") in
    ??????????+*) getfacl -cpn "$1" || return ;;
  esac
  if command -v getfattr >/dev/null; then
    getfattr -d -m - -e hex --absolute-names "$1" | sed 1d
  fi
}
while IFS= read -r old && IFS= read -r new; do
  old=$(printf '%b.' "$old") new=$(printf '%b.' "$new")
  old=${old%.} new=${new%.}
  if before=$(describe "$old") &&
    cp --attributes-only --preserve=all --no-preserve=timestamps "$old" "$new" &&
    [ "$before" = "$(describe "$new")" ]
  then echo kept; else echo lost; fi
done 2>/dev/null
"""


class RightsKeeper:
    """Copies the rights of files in the session of one user.

    Requests that arrive while the script runs wait for its next run, and share it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: list[tuple[bytes, asyncio.Future[bool]]] = []
        self._running: asyncio.Task[None] | None = None

    async def copy(self, old: bytes, new: bytes) -> bool:
        """Give `new` the rights of `old`; return False if they are not certain to be the same.

        Both are absolute paths. Raises what `Session.run` raises when contact is lost.
        """
        kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((_line(old) + _line(new), kept))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await kept

    async def _run(self) -> None:
        while self._waiting:
            pairs = self._waiting[:MAX_PAIRS]
            del self._waiting[:MAX_PAIRS]
            try:
                answers = await self._run_script(b"".join(lines for lines, _ in pairs))
            except ResopError as fault:
                for _, kept in pairs:
                    if not kept.done():
                        kept.set_exception(fault)
                continue
            except BaseException:
                for _, kept in (*pairs, *self._waiting):
                    kept.cancel()
                raise
            for number, (_, kept) in enumerate(pairs):
                if not kept.done():
                    kept.set_result(answers[number : number + 1] == [b"kept"])

    async def _run_script(self, lines: bytes) -> list[bytes]:
        if not self._session.has_spare_channel:
            return []  # the transfer that waits for this has the only one
        step = StepRequest(
            login_shell_script(_SCRIPT), "keep the rights of files", PADDING + PAIRS + lines
        )
        timeout = CHANNEL_TIMEOUT if self._session.may_lack_channel else SCRIPT_TIMEOUT
        try:
            result = await self._session.run(step, timeout)
        except ContactLost:
            raise
        except (ClusterError, StepTimedOut) as fault:
            # A login node that only offers SFTP, for example.
            log.info("the rights of files cannot be copied: %s", fault.message)
            return []
        return result.stdout.split()


def _line(path: bytes) -> bytes:
    return "".join(f"\\0{byte:03o}" for byte in path).encode() + b"\n"
