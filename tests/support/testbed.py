"""The testbed of a pytest session: started for the first test that needs it, stopped at the end.

`RESOP_TESTBED=FOLDER` uses the testbed with that state folder and leaves it running, which is handy
while writing tests.
"""

import base64
import contextlib
import functools
import hashlib
import hmac
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed import requirements
from testbed.machine import Machine
from testbed.site import SiteDescription
from tests.support import openssh

COMMAND_TIMEOUT_SECONDS = 90  # a start takes 7 s on two idle cores
MIN_JOB_AGE = 5  # seconds; short, so that tests see an ended job leave squeue

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Testbed:
    """A running testbed; `site` has its addresses, users and passwords."""

    __test__ = False  # not a test class, despite its name

    site: SiteDescription

    @property
    def machine(self) -> Machine:
        """The machine of the testbed, on which commands can run as root."""
        return Machine(self.site.state)

    def daemon(self, verb: str, name: str) -> None:
        """Stop or start a daemon and wait until it is gone or ready; `verb` is stop or start."""
        run(self.site.state, "daemon", verb, name)

    def roll_up(self) -> None:
        """Make sreport show the usage until now."""
        run(self.site.state, "roll")


@functools.cache
def reason_unavailable() -> str | None:
    """Return the reason why a testbed cannot run on this machine, or None."""
    return requirements.find_problem() or openssh.reason_unavailable()


@functools.cache
@contextlib.contextmanager
def shared() -> Iterator[Testbed]:
    """Start or find the testbed of the session. Raises RuntimeError if that fails."""
    folder = os.environ.get("RESOP_TESTBED")
    if folder:
        run(Path(folder), "start")
        yield _load(Path(folder))
        return
    state = Path(tempfile.mkdtemp(prefix="resop-testbed-", dir="/var/tmp"))
    with running(state, "--discard") as started:
        yield started


@contextlib.contextmanager
def running(state: Path, *options: str) -> Iterator[Testbed]:
    """Run a testbed that stops with this process, even a killed one, because its input ends."""
    arguments = ["run", "--port", str(_free_ports()), "--min-job-age", str(MIN_JOB_AGE), *options]
    with subprocess.Popen(
        _command(state, *arguments),
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C must reach only the tests, which stop this
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        try:
            if not first.startswith("The testbed is up"):
                raise RuntimeError(f"the testbed does not start: {first}{process.stdout.read()}")
            yield _load(state)
        finally:
            process.communicate(timeout=COMMAND_TIMEOUT_SECONDS)


def run(state: Path, *arguments: str) -> str:
    """Run `python -m testbed` and return its output. Raises RuntimeError if it fails."""
    result = subprocess.run(
        _command(state, *arguments),
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"testbed {' '.join(arguments)}: {result.stderr or result.stdout}")
    return result.stdout


def totp(secret: str, at: float | None = None) -> str:
    """Return the one-time code (RFC 6238) of a base32 secret, now or `at` a Unix time."""
    counter = struct.pack(">Q", int(time.time() if at is None else at) // 30)
    digest = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**6:06d}"


def _load(state: Path) -> Testbed:
    site = SiteDescription.load(state.absolute())
    assert site is not None
    return Testbed(site)


def _command(state: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "testbed", "--state", str(state), *arguments]


def _free_ports() -> int:
    """Reserve 20 free ports in a row, below the range of tests.support.ports; return the first.

    No other process of the tests gets them before this one ends.
    """
    for first in random.sample(range(17900, 19900, 20), 100):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as reservation:
            reservation.bind(f"\0resop-tests-ports-{first}")
            if all(_is_free(port) for port in range(first, first + 20)):
                reservation.detach()  # it remains open
                return first
    raise RuntimeError("no 20 free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
