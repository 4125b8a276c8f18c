"""The runner's program, started by itself."""

import subprocess
import sys
import zlib

from resop.ssh.runner.bundle import PROGRAM
from resop.ssh.runner.remote import protocol


def test_program_does_not_go_on_after_nonsense() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", zlib.decompress(PROGRAM), "mark"],
        input=protocol.frame(1, 1, b"[]") + bytes(range(100)),
        capture_output=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"not understood")
