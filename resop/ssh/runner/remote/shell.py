"""The user's login shell: how it starts a line, or a program in its environment."""

import binascii
import contextlib
import os
import pwd
import subprocess
import zlib
from typing import Any, Dict, List, Optional

from resop.ssh.runner.remote.child import STEP_VARIABLE
from resop.ssh.runner.remote.processes import login_environ, spawn

FUNCTIONS = b"RESOP_FUNCTIONS"
MAX_VARIABLE = 100000
"""Bytes of one variable; Linux limits it to 128 KiB."""


class LoginShell:
    """The login shell, and the environment that it left when it started the runner."""

    def __init__(self) -> None:
        self.path = pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
        self.name = os.path.basename(self.path)
        self.environ = login_environ()
        self.functions = _unpack(self.environ.pop(FUNCTIONS, b""))
        """Definitions of bash functions; None when they are not known."""
        self.null = os.open(os.devnull, os.O_RDWR)

    @property
    def skips_rc(self) -> bool:
        """True if the shell is a bash that need not read its rc file again."""
        return self.name == "bash" and self.functions is not None

    @property
    def reads_rc_files(self) -> bool:
        """True if the shell reads rc files for each line."""
        return self.name not in ("dash", "sh") and not self.skips_rc

    def spawn(self, request: Dict[str, Any], mark: str, files: List[int]) -> int:
        """Start the program itself where one is named, else a line in the shell; return its PID.

        `files` are its stdout and stderr, with its stdin before them where it has any.
        """
        files = files if len(files) == 3 else [self.null, *files]
        environ = dict(self.environ)
        environ[STEP_VARIABLE.encode()] = mark.encode()
        program = request.get("program")
        if program:
            env = {k.encode(): v.encode() for k, v in program["env"].items()}
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                argv = [word.encode() for word in program["argv"]]
                return spawn(argv, None, program["cwd"], {**environ, **env}, files)
            # The shell reports what is wrong with it in its usual words.
        argv = [self.name.encode(), b"-c", request["line"].encode()]
        if self.skips_rc:
            # The rc file was read when this program was started. Define the functions that were
            # made there and not exported.
            argv.insert(1, b"--norc")
            argv[-1] = self._define_functions(environ) + argv[-1]
        return spawn(argv, self.path, None, environ, files)

    def _define_functions(self, environ: Dict[bytes, bytes]) -> bytes:
        """Put the functions into variables of `environ`; return the command that defines them."""
        text, names = self.functions or b"", []
        for at in range(0, len(text), MAX_VARIABLE):
            names.append(b"%s%d" % (FUNCTIONS, at))
            environ[names[-1]] = text[at : at + MAX_VARIABLE]
        if not names:
            return b""
        return b'eval "$%s"; unset %s; ' % (b"$".join(names), b" ".join(names))


def _unpack(text: bytes) -> Optional[bytes]:
    """Undo gzip and base64; return None for anything else."""
    try:
        return zlib.decompress(binascii.a2b_base64(text), 31)
    except (ValueError, zlib.error):
        return None
