"""The runner's program, started by itself."""

import json
import os
import signal
import subprocess
import sys
import zlib

import pytest

from resop.ssh.runner.bundle import PROGRAM
from resop.ssh.runner.remote import protocol

COMMAND: list[str | bytes] = [sys.executable, "-I", "-S", "-c", zlib.decompress(PROGRAM), "mark"]


def test_program_does_not_go_on_after_nonsense() -> None:
    done = subprocess.run(
        COMMAND,
        input=protocol.frame(1, 1, b"[]") + bytes(range(100)),
        capture_output=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"not understood")


def test_program_ends_when_it_can_write_no_more_before_its_input_ends() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=writer) as process:
        os.close(writer)
        assert process.wait(10) == 0


def test_program_ends_its_steps_when_it_can_write_no_more() -> None:
    step = {
        "line": "echo $$; read -r _; echo more; exec sleep 600",
        "program": None,
        "input": True,
        "limit": 600,
        "max_output": 1000,
        "grace": 0.2,
    }
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(protocol.frame(protocol.START, 1, json.dumps(step).encode()))
        process.stdin.flush()
        output = protocol.Frames()
        pid = 0
        while not pid:
            for kind, _, content in output.feed(os.read(process.stdout.fileno(), 1000)):
                if kind == protocol.STDOUT:
                    pid = int(content)
        process.stdout.close()
        process.stdin.write(protocol.frame(protocol.STDIN, 1, b"go\n"))
        process.stdin.flush()
        assert process.wait(10) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
