"""The user's login shell: how it starts a line, or a program in its environment."""

import binascii
import contextlib
import os
import pwd
import subprocess
import zlib
from typing import Any, Dict, List

from resop.ssh.runner.remote.bash_state import environ_for, script_of
from resop.ssh.runner.remote.child import STEP_VARIABLE
from resop.ssh.runner.remote.processes import HAVE_PROC, login_environ, spawn

STATE = b"RESOP_STATE"


class LoginShell:
    """The login shell, and the environment that it left when it started the runner."""

    def __init__(self) -> None:
        account = pwd.getpwuid(os.getuid())
        self.path = account.pw_shell or "/bin/sh"
        self.name = os.path.basename(self.path)
        self.environ = login_environ()
        packed = self.environ.pop(STATE, b"")
        self.script = -1
        """A file with what a bash reads in place of its rc files; -1 if there is none."""
        if self.name == "bash" and HAVE_PROC:
            with contextlib.suppress(ValueError, zlib.error, OSError):
                state = zlib.decompress(binascii.a2b_base64(packed), 31)
                self.script = _unnamed_file(script_of(state, self.environ))
        self.null = os.open(os.devnull, os.O_RDWR)
        self.folder = None if _is_current(account.pw_dir) else os.fsencode(account.pw_dir)
        """Where a shell begins that reads its rc files, unless it is the current folder."""

    @property
    def reads_rc_files(self) -> bool:
        """True if the shell reads rc files for each line."""
        return self.name not in ("dash", "sh") and self.script < 0

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
                # Bytes: in the locale of the rc files Python may have no encoding for the path.
                cwd = program["cwd"] and program["cwd"].encode()
                return spawn(argv, None, cwd, {**environ, **env}, files)
            # The shell reports what is wrong with it in its usual words.
        argv = [self.name.encode(), b"-c", request["line"].encode()]
        folder = None
        if self.script >= 0:
            # The rc file was read when this program was started.
            argv.insert(1, b"--norc")
            environ = environ_for(environ, b"/proc/%d/fd/%d" % (os.getpid(), self.script))
        elif self.reads_rc_files:
            folder = self.folder
            environ.pop(b"ZDOTDIR", None)  # zsh would read another .zshenv than the one that set it
        return spawn(argv, self.path, folder, environ, files)


def _is_current(folder: str) -> bool:
    """Return True if `folder` is the current folder, or cannot be entered."""
    try:
        return os.path.samefile(folder, ".") or not os.access(folder, os.X_OK)
    except OSError:
        return True


def _unnamed_file(content: bytes) -> int:
    """Open a file that has this content and no name."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("resop")
    else:  # Python 3.7 and older
        import tempfile

        with tempfile.TemporaryFile(buffering=0) as opened:
            file = os.dup(opened.fileno())
    while content:
        content = content[os.write(file, content) :]
    return file
