"""The testbed for a whole pytest session: started when the first test asks, gone with the session.

`RESOP_TESTBED=FOLDER` uses the one whose state is there, and leaves it up: good for writing tests.
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

START_SECONDS = 90  # takes 7 s on two idle cores
MIN_JOB_AGE = 5  # an ended job leaves squeue soon enough for a test to see it

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Testbed:
    """A running testbed; `site` has its addresses, people and passwords."""

    __test__ = False  # not a class of tests

    site: SiteDescription

    @property
    def machine(self) -> Machine:
        """Where its processes are, and commands can be run as root."""
        return Machine(self.site.state)

    def daemon(self, verb: str, name: str) -> None:
        """Stop or start a daemon and wait until it is gone or ready; `verb` is stop or start."""
        run(self.site.state, "daemon", verb, name)

    def roll_up(self) -> None:
        """Have sreport show the usage until now."""
        run(self.site.state, "roll")


@functools.cache
def reason_unavailable() -> str | None:
    """Why a testbed cannot be had on this machine, or None if it can."""
    return requirements.find_problem() or openssh.reason_unavailable()


@functools.cache
@contextlib.contextmanager
def shared() -> Iterator[Testbed]:
    """The session's testbed. RuntimeError with what went wrong."""
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
    """A testbed that ends with this process, however that ends: the end of its input is a stop."""
    arguments = ["run", "--port", str(_free_ports()), "--min-job-age", str(MIN_JOB_AGE), *options]
    with subprocess.Popen(
        _command(state, *arguments),
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests, which then end this
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        try:
            if not first.startswith("The testbed is up"):
                raise RuntimeError(f"the testbed does not come up: {first}{process.stdout.read()}")
            yield _load(state)
        finally:
            process.communicate(timeout=START_SECONDS)


def run(state: Path, *arguments: str) -> str:
    """`python -m testbed` with these arguments; what it printed. RuntimeError if it fails."""
    result = subprocess.run(
        _command(state, *arguments),
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"testbed {' '.join(arguments)}: {result.stderr or result.stdout}")
    return result.stdout


def totp(secret: str, at: float | None = None) -> str:
    """The one-time code of RFC 6238 for a base32 secret, now or `at` a time."""
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
    """The first of some free ports, below those that other tests take theirs from."""
    for first in random.sample(range(17900, 19900, 20), 100):
        if all(_is_free(port) for port in range(first, first + 20)):
            return first
    raise RuntimeError("no 20 free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
