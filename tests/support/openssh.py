"""A real OpenSSH server on a loopback port, with password accounts that exist only inside it.

It runs in private mount and PID namespaces in which a few files of /etc are replaced. So the host
is not changed, and all processes end together, whatever happens.
"""

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from tests.support.background_service import BackgroundService
from tests.support.ports import free_port

FIRST_UID = 47001  # the first account's; no distribution assigns IDs in this range
SSHD_TIMEOUT_SECONDS = 60.0  # for a start or stop, which takes 0.1 s on an idle machine

_SSHD = Path("/usr/sbin/sshd")
_NAMESPACES = (
    *("unshare", "--mount", "--propagation", "private"),
    *("--pid", "--fork", "--kill-child", "--mount-proc"),
)
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}  # instead of the environment of the tests

# The machine's process 1: when it ends, the kernel ends every process of the PID namespace, even
# processes that left their session. Each line on its standard input starts one sshd. Its input ends
# at `stop`, or with the test process. (PR_SET_PDEATHSIG would also detect the end of the test
# process, but fires at the end of the *thread* that started the server, such as one of
# asyncio.to_thread.)
_INIT = """
set -eu
mount --bind "$1" /mnt
for hidden in /home /run /var/log; do mount -t tmpfs -o mode=755 tmpfs $hidden; done
for hidden in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $hidden; done
mkdir /run/sshd
for home in /mnt/home/*; do
    mkdir "/home/${home##*/}"
    mount --bind "$home" "/home/${home##*/}"
done
for file in passwd group shadow pam.d/sshd; do mount --bind "/mnt/etc/$file" "/etc/$file"; done
/usr/sbin/sshd -t -f /mnt/sshd_config
while read -r _; do /usr/sbin/sshd -D -f /mnt/sshd_config -E /mnt/sshd.log & done
"""

# Our own stack in place of the host's: without pam_limits, pam_loginuid and the like, which fail in
# containers, and with a delay after a wrong password only if a test wants one.
_PAM = """
auth     optional pam_faildelay.so delay={delay}
auth     required pam_unix.so nodelay
account  required pam_unix.so
session  required pam_permit.so
password required pam_deny.so
"""

# OpenSSH's defaults where tests depend on them; a keyword in `config` replaces its line.
_DEFAULTS = {
    "AuthorizedKeysFile": ".ssh/authorized_keys",
    "KbdInteractiveAuthentication": "yes",
    "LogLevel": "VERBOSE",
    "MaxSessions": "10",
    "MaxStartups": "10:30:100",
    "PasswordAuthentication": "yes",
    "PermitRootLogin": "no",
    "PidFile": "none",
    "PrintLastLog": "no",
    "PrintMotd": "no",
    "PubkeyAuthentication": "yes",
    "StrictModes": "yes",
    "Subsystem": "sftp /usr/lib/openssh/sftp-server",
    "UseDNS": "no",
    "UsePAM": "yes",
}
_KEY_TYPES = ("ed25519", "ecdsa")


@dataclass(frozen=True)
class Account:
    """A user who can log in with `password` and has the login shell `shell`."""

    name: str
    password: str
    shell: str = "/bin/bash"
    alias_of: str | None = None
    """Another account, which must precede it: the same number, group and home by another name."""

    @property
    def home(self) -> Path:
        """The home folder in the account's view; `OpenSSH.home` is the host's view."""
        return Path("/home") / (self.alias_of or self.name)


@dataclass(frozen=True)
class _Process:
    """A process as described in /proc; `pid` is its ID on the host."""

    pid: int
    uid: int
    command: str
    is_sshd: bool


@functools.cache
def reason_unavailable() -> str | None:
    """Return the reason why a real server cannot run on this machine, or None."""
    if os.geteuid() != 0:
        return "run the tests as root: a real OpenSSH server for several users needs it"
    if not _SSHD.exists():
        return f"{_SSHD} is missing (Debian package openssh-server)"
    for tool in ("bash", "mount", "openssl", "ssh-keygen", "unshare"):
        if shutil.which(tool) is None:
            return f"the command {tool} is missing"
    probe = [*_NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", "/run"]
    result = subprocess.run(probe, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return f"private namespaces cannot be created here: {result.stderr.strip()}"
    return None


class OpenSSH(BackgroundService):
    """A machine with sshd and `accounts`; a context manager that can be restarted.

    Its /tmp, /var/tmp, /dev/shm, /run, /home and /var/log are private; everything else is the
    host's. Process IDs in a session are those of the machine: never signal them from the host. Host
    keys and homes remain in `folder` between starts.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        folder: Path,
        accounts: Sequence[Account],
        *,
        port: int | None = None,
        config: str = "",
        fail_delay: float = 0,
        pam: str = _PAM,
    ) -> None:
        """Prepare the machine without starting it.

        `config` is lines of sshd_config(5), Match blocks included; its keywords replace defaults.
        PAM refuses a wrong password after about `fail_delay` seconds (pam_unix's default is 2).
        `pam` is sshd's stack; files in `folder` are in /mnt there. See `set_pam`.
        """
        self.folder = folder.absolute()
        self.accounts = {account.name: account for account in accounts}
        self.port = free_port(self.host) if port is None else port
        self.known_hosts = self.folder / "known_hosts"
        self.log = self.folder / "sshd.log"
        self._config = config
        self._fail_delay = fail_delay
        self._pam = pam
        self._machine: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the machine and wait until sshd answers. Raises RuntimeError with the log."""
        if self._machine is not None:
            raise RuntimeError("the server is already running")
        self._write_files()
        with (self.folder / "init.log").open("wb") as output:
            self._machine = subprocess.Popen(
                [*_NAMESPACES, "bash", "-c", _INIT, "init", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # Ctrl-C must reach only the tests, which call stop
            )
        try:
            self._listen()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the machine and wait until all its processes are gone. Harmless when stopped."""
        machine, self._machine = self._machine, None
        if machine is None:
            return
        assert machine.stdin is not None
        machine.stdin.close()
        try:
            machine.wait(SSHD_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            machine.kill()
            machine.wait()

    def restart(self) -> None:
        """Restart only sshd and cut the connections, as an administrator's hard restart does.

        The sessions' commands get no signal, and some continue to run. A reboot, which ends them,
        is `stop` and `start`.
        """
        self._kill_sshd(lambda sshd: True)
        self._listen()

    def drop_connections(self) -> None:
        """Cut every connection without SSH's disconnect; the listener continues.

        As when a real connection breaks, a command that neither reads nor writes continues to run.
        """
        self._kill_sshd(lambda sshd: not _listens(sshd))

    def rotate_host_key(self) -> None:
        """Give the server new host keys; open sessions continue.

        `known_hosts` still has the old keys, as a client's file would: see `write_known_hosts`.
        """
        self._make_host_keys()
        self._kill_sshd(_listens)
        self._listen()

    def write_known_hosts(self) -> None:
        """Write the current host keys to `known_hosts`, as after an announced rotation."""
        keys = [self._host_key(kind).with_suffix(".pub").read_text() for kind in _KEY_TYPES]
        lines = [f"[{self.host}]:{self.port} {' '.join(key.split()[:2])}\n" for key in keys]
        self.known_hosts.write_text("".join(lines))

    def uid(self, name: str) -> int:
        """Return the user ID of an account, which is also its group ID. KeyError if unknown."""
        account = self.accounts[name]
        return FIRST_UID + list(self.accounts).index(account.alias_of or account.name)

    def home(self, name: str) -> Path:
        """Return the host's path of an account's home; files there must belong to its `uid`."""
        return self.folder / "home" / self.accounts[name].home.name

    def set_pam(self, stack: str = _PAM) -> None:
        """Give sshd another PAM stack, from the next login on."""
        delay = int(self._fail_delay * 1_000_000)
        # In the same file, which is mounted. Not `format`: a stack may contain ${USER}.
        file = self.folder / "etc" / "pam.d" / "sshd"
        file.write_text(stack.replace("{delay}", str(delay)))

    async def login(self, name: str) -> asyncssh.SSHClientConnection:
        """Connect as an account, with only its password."""
        return await asyncssh.connect(
            self.host,
            self.port,
            username=name,
            password=self.accounts[name].password,
            known_hosts=str(self.known_hosts),
            client_keys=None,
            agent_path=None,
            config=None,
        )

    def authorize(self, name: str, public_key: str) -> None:
        """Append a key to the account's authorized_keys, with the owner and modes sshd requires."""
        folder = self.home(name) / ".ssh"
        file = folder / "authorized_keys"
        folder.mkdir(mode=0o700, exist_ok=True)
        with file.open("a") as keys:
            keys.write(public_key.strip() + "\n")
        file.chmod(0o600)
        for path in (folder, file):
            os.chown(path, self.uid(name), self.uid(name))

    def processes(self, name: str) -> list[str]:
        """Return the command lines of the account's processes on this machine, except sshd's."""
        uid = self.uid(name)
        processes = (each for each in self._processes() if each.uid == uid and not each.is_sshd)
        return [process.command for process in processes]

    # -- files ------------------------------------------------------------------------------

    def _write_files(self) -> None:
        for part in ("home", "etc/pam.d", "keys"):
            (self.folder / part).mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in self.accounts:
            self.home(name).mkdir(mode=0o700, exist_ok=True)
            os.chown(self.home(name), self.uid(name), self.uid(name))
        self._write_etc()
        (self.folder / "sshd_config").write_text(self._sshd_config())
        if not self._host_key(_KEY_TYPES[0]).exists():
            self._make_host_keys()
            self.write_known_hosts()

    def _write_etc(self) -> None:
        etc = self.folder / "etc"
        passwd, group = (Path("/etc", file).read_text() for file in ("passwd", "group"))
        shadow = ""  # only our accounts: the host's password hashes must not leak into tests
        for account in self.accounts.values():
            if f"\n{account.name}:" in "\n" + passwd:
                raise ValueError(
                    f"the host already has an account {account.name}: choose another name"
                )
            uid = self.uid(account.name)
            passwd += f"{account.name}:x:{uid}:{uid}::{account.home}:{account.shell}\n"
            if account.alias_of is None:
                group += f"{account.name}:x:{uid}:\n"
            shadow += f"{account.name}:{_hash(account.password)}:19000:0:99999:7:::\n"
        (etc / "passwd").write_text(passwd)
        (etc / "group").write_text(group)
        (etc / "shadow").touch(mode=0o600)
        (etc / "shadow").write_text(shadow)
        self.set_pam(self._pam)

    def _sshd_config(self) -> str:
        # For most keywords sshd uses the first value that it reads, and lines after a Match belong
        # to it: so drop the defaults that `config` replaces, and put `config` last.
        replaced = set()
        for words in (line.lower().split() for line in self._config.splitlines()):
            if words and words[0] == "match":
                break
            replaced.update(words[:1])
        lines = [f"Port {self.port}", f"ListenAddress {self.host}"]
        lines += [f"HostKey /mnt/keys/{self._host_key(kind).name}" for kind in _KEY_TYPES]
        defaults = {key: _DEFAULTS[key] for key in _DEFAULTS if key.lower() not in replaced}
        lines += [f"{key} {value}" for key, value in defaults.items()]
        return "\n".join([*lines, self._config, ""])

    def _host_key(self, kind: str) -> Path:
        return self.folder / "keys" / f"host_{kind}"

    def _make_host_keys(self) -> None:
        for kind in _KEY_TYPES:
            key = self._host_key(kind)
            key.unlink(missing_ok=True)
            command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(key)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    # -- processes --------------------------------------------------------------------------

    def _listen(self) -> None:
        """Start an sshd and wait until it answers."""
        _wait(lambda: _is_free(self.host, self.port), f"port {self.port} is in use")
        assert self._machine is not None and self._machine.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # process 1 failed: reported below, with its log
            self._machine.stdin.write(b"\n")
            self._machine.stdin.flush()
        try:
            _wait(self._answers, "sshd does not answer")
        except RuntimeError as error:
            logs = [file.read_text() for file in sorted(self.folder.glob("*.log"))]
            raise RuntimeError(f"{error}; the end of its logs:\n{''.join(logs)[-2000:]}") from None

    def _answers(self) -> bool:
        assert self._machine is not None
        if self._machine.poll() is not None:
            raise RuntimeError("the machine could not be set up")
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _processes(self) -> Iterator[_Process]:
        """Yield the machine's processes; none when it is stopped."""
        if self._machine is None:
            return
        namespace = os.readlink(f"/proc/{self._machine.pid}/ns/pid_for_children")
        for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]:
            # Skip processes that have ended, and the host's that we may not inspect.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if os.readlink(f"/proc/{pid}/ns/pid") == namespace:
                    yield _process(pid)

    def _kill_sshd(self, matches: Callable[[_Process], bool]) -> None:
        """Kill the machine's sshd processes that match, and all that they fork meanwhile."""

        def all_gone() -> bool:
            victims = [each.pid for each in self._processes() if each.is_sshd and matches(each)]
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not victims

        _wait(all_gone, "sshd does not end")


def _process(pid: int) -> _Process:
    proc = Path("/proc", str(pid))
    executable = Path(os.readlink(proc / "exe")).name
    # /proc/PID is owned by root while a process is not dumpable: read its credentials instead.
    uids = next(line for line in (proc / "status").read_text().splitlines() if line[:4] == "Uid:")
    command = (proc / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    return _Process(
        pid=pid,
        uid=int(uids.split()[1]),
        command=command.decode(errors="replace"),
        is_sshd=executable.split("-")[0] == "sshd",  # sshd-session and sshd-auth from 9.8 on
    )


def _listens(sshd: _Process) -> bool:
    return "[listener]" in sshd.command  # sshd sets this title itself


def _hash(password: str) -> str:
    command = ["openssl", "passwd", "-6", "-stdin"]
    result = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as sshd does
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _wait(condition: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + SSHD_TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{problem} (after {SSHD_TIMEOUT_SECONDS:.0f} s)")
        time.sleep(0.01)
