"""Start, inspect and adopt processes of the login node."""

import contextlib
import functools
import os
import resource
import signal
import subprocess
from typing import Callable, Dict, List, Mapping, Optional

HAVE_PROC = os.path.exists("/proc/self/stat")
PR_SET_CHILD_SUBREAPER = 36
"""See prctl(2); since Linux 3.4."""


def spawn(
    argv: List[bytes],
    executable: Optional[str],
    cwd: Optional[bytes],
    environ: Dict[bytes, bytes],
    files: List[int],
) -> int:
    """Start a program as the leader of a new session; return its PID."""
    if hasattr(os, "posix_spawn") and not cwd and _path(environ) == _path(os.environb):
        # Twice as fast as subprocess, and up to Python 3.9 five times.
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
    return environ.get(b"PATH")


def login_environ() -> Dict[bytes, bytes]:
    """Return the environment of the login shell; Python may have changed its own (PEP 538)."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environb)
    return {name: value for name, equals, value in (e.partition(b"=") for e in entries) if equals}


def status(pid: str) -> List[str]:
    """Return the fields of proc(5) stat from the state on: the name before may hold anything."""
    with open(f"/proc/{pid}/stat", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def cpu_budget() -> float:
    """Return half the seconds of CPU time after which the kernel ends this process."""
    limits = [each for each in resource.getrlimit(resource.RLIMIT_CPU) if each >= 0]
    return min(limits, default=float("inf")) / 2


def exit_code(status: int) -> int:
    """Convert a wait status as shells do: 128 and the number of the signal."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def become_subreaper() -> bool:
    """Become the parent of orphaned descendants; return False where that is not possible."""
    call = prctl()
    return call is not None and call(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


@functools.lru_cache(None)
def prctl() -> Optional[Callable[..., int]]:
    """Load prctl of the C library; forked processes share the memory that this takes."""
    try:
        import ctypes

        call: Callable[..., int] = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return call


def boot_identity() -> bytes:
    """Return the name of this machine and the ID of its last boot, on two lines."""
    boot = b""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", "rb") as file:
        boot = file.read().strip()
    return os.uname().nodename.encode() + b"\n" + boot
