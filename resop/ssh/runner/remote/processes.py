"""Processes of the login node: started, looked at, adopted."""

import contextlib
import functools
import os
import signal
import subprocess
from typing import Callable, Dict, List, Mapping, Optional

HAVE_PROC = os.path.exists("/proc/self/stat")
CHILD_SUBREAPER = 36
"""Of prctl(2), since Linux 3.4."""


def spawn(
    argv: List[bytes],
    executable: Optional[str],
    cwd: Optional[str],
    environ: Dict[bytes, bytes],
    files: List[int],
) -> int:
    """Start a program as the leader of a session of its own; return its process number."""
    if hasattr(os, "posix_spawn") and not cwd and _path(environ) == _path(os.environb):
        # It takes half the time that subprocess does, and up to Python 3.9 a fifth.
        with contextlib.suppress(NotImplementedError):  # setsid, in some C libraries
            return (os.posix_spawn if executable else os.posix_spawnp)(
                executable or argv[0],
                argv,
                environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, file, at) for at, file in enumerate(files)],
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
            )
    process = subprocess.Popen(
        argv,
        bufsize=0,
        executable=executable,
        stdin=files[0],
        stdout=files[1],
        stderr=files[2],
        close_fds=False,  # all of ours close by themselves (PEP 446)
        cwd=cwd,
        env=environ,
        start_new_session=True,
    )
    process.returncode = 0  # so that subprocess does not wait for it, too
    return process.pid


def _path(environ: Mapping[bytes, bytes]) -> Optional[bytes]:
    """Where programs are looked for."""
    return environ.get(b"PATH")


def login_environ() -> Dict[bytes, bytes]:
    """What the login shell has left; Python may have changed its own (PEP 538)."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environb)
    return {name: value for name, equals, value in (e.partition(b"=") for e in entries) if equals}


def status(pid: str) -> List[str]:
    """State, parent and so on of a process, see proc(5); the name before may hold anything."""
    with open(f"/proc/{pid}/stat", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def adopt() -> bool:
    """Be the parent of what this process's descendants leave; False where that cannot be."""
    call = prctl()
    return call is not None and call(CHILD_SUBREAPER, 1, 0, 0, 0) == 0


@functools.lru_cache(None)
def prctl() -> Optional[Callable[..., int]]:
    """That of the C library. To have loaded it takes memory, which forked processes share."""
    try:
        import ctypes

        call: Callable[..., int] = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return call


def here() -> bytes:
    """Which machine this is, and since when."""
    boot = b""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", "rb") as file:
        boot = file.read().strip()
    return os.uname().nodename.encode() + b"\n" + boot
