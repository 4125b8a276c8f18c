"""Login shells and start-up files: steps give what OpenSSH's own client gives, on every way.

Each account has one shell and one peculiarity in a start-up file. Its line is run by `ssh`, and by
sessions on servers that allow 1, 2 and 10 channels, over the runner and over exec channels. What
must differ is left out of the comparison: variables that name the connection (`SSH_*`), the mark of
a step (`RESOP_STEP`) and `_`, which a shell sets for each program; what start-up files print, which
ssh shows and resop drops; the file that bash names in messages of functions; and, on exec channels,
messages of fish, which show the mark before the line.
"""

import asyncio
import contextlib
import dataclasses
import difflib
import itertools
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from resop.sftp.client import open_sftp
from resop.ssh.runner import channel
from resop.ssh.session import Session
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from tests.support.steps import line_step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]

MAX_SESSIONS = (10, 2, 1)
AT_ONCE = 4
LIMIT = 30.0
DEFINED_IN = re.compile(r"^(/home/\w+/\.bashrc|/proc/\d+/fd/\d+): line \d+: ", re.MULTILINE)
"""Where bash says that a function was defined."""
OWN = ("SSH_CLIENT=", "SSH_CONNECTION=", "RESOP_STEP=", "_=")
"""The beginnings of lines that must differ."""

OUTPUT = "pwd; sh -c 'echo error >&2'; module load gcc; ll; env; sh -c 'ulimit -n; umask'; exit 7"
"""The line of most cases; `module` and `ll` are a function and an alias, or an error."""

READS_INPUT = "reads its input"
FUNCTIONS = 'module() { echo "module $*"; }\nll() { echo "listed $*"; }\n'
CASES: dict[str, dict[str, str]] = {
    "bash": {
        "no file": "",
        "prints": "echo noise; echo noise >&2; export SITE=here\n",
        "prints 200 kB": "yes noise | head -c 204798; echo noise\n",
        "cd": f"cd /usr/share; {FUNCTIONS}",
        "extglob": "shopt -s extglob\nmodule() { case $1 in @(load|add)) echo ok;; esac; }\n",
        "exported extglob": (
            "shopt -s extglob\nmodule() { case $1 in @(load|add)) echo ok;; esac; }\n"
            "export -f module\n"
        ),
        "POSIX mode": f"{FUNCTIONS}my-func() {{ :; }}\nexport POSIXLY_CORRECT=1\n",
        "set -o posix": f"{FUNCTIONS}my-func() {{ :; }}\nset -o posix\n",
        "BASH_ENV": f"export BASH_ENV=~/.bash_env\n{FUNCTIONS}",
        "aliases": "shopt -s expand_aliases\nalias ll='echo listed' module='echo aliased'\n",
        "aliases without expand_aliases": "alias ll='echo listed'\n",
        "an alias named as a function": (
            "module() { echo function; }\nshopt -s expand_aliases; alias module='echo alias'\n"
        ),
        "variables": (
            "A=1 B=$'two\\nlines' C=(x 'y z'); declare -A D=([k]=v); declare -i E=3\n"
            'module() { echo $A "$B" "${C[1]}" ${D[k]}; E=E+1; echo $E; }\n'
        ),
        "readonly": "readonly A=1; declare -rx TMOUT=0\nmodule() { (A=2); (TMOUT=1); echo on; }\n",
        "IFS": "IFS=:; A=x:y\nmodule() { printf '<%s>' $A; }\n",
        "exported IFS": "export IFS=:; A=x:y\nmodule() { printf '<%s>' $A; }\n",
        "set -u": f"set -u\n{FUNCTIONS}ll() {{ echo $nothing; }}\n",
        "set -e": f"set -e\n{FUNCTIONS}ll() {{ false; echo not reached; }}\n",
        "set -euo pipefail": f"set -euo pipefail\n{FUNCTIONS}",
        "set -x": f"{FUNCTIONS}PS4='> '; set -x\n",
        "set -f": "set -f\nmodule() { echo /*; }\n",
        "noclobber, vi": f"set -o noclobber -o vi\n{FUNCTIONS}ll() {{ set +o; }}\n",
        "set -a": f"set -a\nA=1\n{FUNCTIONS}",
        "failglob": f"shopt -s failglob\n{FUNCTIONS}ll() {{ echo /nothing*; }}\n",
        "nullglob": f"shopt -s nullglob dotglob\n{FUNCTIONS}ll() {{ echo /nothing*; }}\n",
        "EXIT trap": f"trap 'echo bye' EXIT\n{FUNCTIONS}",
        "ERR trap": f"trap 'echo failed: $?' ERR\n{FUNCTIONS}ll() {{ false; }}\n",
        "ignored signals": "trap '' HUP TERM\nmodule() { trap -p; }\n",
        "command_not_found_handle": 'command_not_found_handle() { echo "no $1"; return 127; }\n',
        "PROMPT_COMMAND": f"PROMPT_COMMAND='echo prompt'; PS1='> '\n{FUNCTIONS}",
        "guard": f'{FUNCTIONS}[ -z "$PS1" ] && return\ncd /\n',
        "time zone": f"export TZ=Asia/Tokyo\n{FUNCTIONS}ll() {{ date +%z; }}\n",
        "locale that is not installed": f"{FUNCTIONS}export LC_ALL=de_DE.ISO-8859-1 2>/dev/null\n",
        "limits": f"umask 027; ulimit -n 300\n{FUNCTIONS}",
        "HOME": f"export HOME=/usr\n{FUNCTIONS}ll() {{ echo ~; }}\n",
        READS_INPUT: f"read -r line; cat >/dev/null\n{FUNCTIONS}",
        "functions named as commands": (
            f'{FUNCTIONS}cd() {{ builtin cd "$@"; }}; env() {{ echo my env; }}; export -f env\n'
        ),
        "unusual names": "ll() { a.b; }; a.b() { echo dot; }; a:b() { :; }\n",
        "OLDPWD": f"cd /usr; cd /etc\n{FUNCTIONS}ll() {{ cd -; }}\n",
    },
    "zsh": {
        "no file": "",
        "prints": "echo noise; echo noise >&2; export SITE=here\n",
        "cd": f"cd /usr/share; {FUNCTIONS}",
        "extendedglob": "setopt extendedglob nullglob\nmodule() { echo /us(r|x) /nothing*; }\n",
        "aliases": "alias ll='echo listed'; alias -g gcc=clang\nmodule() { echo $*; }\n",
        "options": f"setopt nounset noclobber shwordsplit\n{FUNCTIONS}ll() {{ echo $nothing; }}\n",
        "set -e": f"setopt errexit\n{FUNCTIONS}",
        "traps": f"TRAPEXIT() {{ echo bye; }}\n{FUNCTIONS}",
        "variables": "A=1; typeset -A D; D=(k v); readonly R=1\nmodule() { echo $A $D[k]; }\n",
        "cd to a relative folder": "mkdir -p sub; cd sub\n",
        "ZDOTDIR": f"export ZDOTDIR=/usr; {FUNCTIONS}",
        "command_not_found_handler": 'command_not_found_handler() { echo "no $1"; return 127; }\n',
    },
    "tcsh": {
        "no file": "",
        "prints": "echo noise; sh -c 'echo noise >&2'; setenv SITE here\n",
        "cd": "cd /usr/share\n",
        "aliases": "alias module 'echo module \\!*'; alias ll 'echo listed'\n",
        "options": "set noclobber nonomatch\nalias module 'echo $shell'\n",
        "cd to a relative folder": "cd .; mkdir -p sub; cd sub\n",
        "variables": "set a = (x y); setenv B z\nalias module 'echo $a[2] $B'\n",
    },
    "fish": {
        "no file": "",
        "prints": "echo noise; echo noise >&2; set -x SITE here\n",
        "cd": "cd /usr/share\n",
        "functions": "function module; echo module $argv; end\nalias ll 'echo listed'\n",
        "variables": "set -g a x y; set -x B z\nfunction module; echo $a[2] $B; end\n",
        "fish_vi_key_bindings": "fish_vi_key_bindings\nfunction module; echo module; end\n",
    },
    "dash": {"no file": ""},
    "ksh93": {"no file": ""},
    "mksh": {"no file": ""},
}
RC_FILES = {
    "bash": ".bashrc",
    "zsh": ".zshenv",
    "tcsh": ".cshrc",
    "fish": ".config/fish/config.fish",
}


@dataclass
class Case:
    """A login shell with a start-up file."""

    shell: str
    title: str
    rc: str
    account: Account

    def install(self, server: OpenSSH, public_key: str) -> None:
        name = self.account.name
        server.authorize(name, public_key)
        home = server.home(name)
        (home / ".bash_env").write_text("echo from BASH_ENV\n")
        if self.rc:
            file = home / RC_FILES[self.shell]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.rc)


@dataclass(frozen=True)
class Answer:
    """The answer that a client of SSH gets."""

    stdout: list[str]
    stderr: list[str]
    exit_code: int


@dataclass
class Site:
    """Servers with the same accounts."""

    key: Path
    cases: list[Case]
    servers: dict[int, OpenSSH] = field(default_factory=dict)


def difference(expected: Answer, found: Answer) -> list[str]:
    """Return the lines in which two answers differ."""
    before, after = (
        [*each.stdout, *each.stderr, f"exit {each.exit_code}"] for each in (expected, found)
    )
    return [line for line in difflib.ndiff(before, after) if not line.startswith((" ", "?"))]


SHELLS = {shell: shutil.which("sh" if shell == "dash" else shell) for shell in CASES}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need(reason_unavailable())
    missing = [shell for shell, path in SHELLS.items() if path is None]
    need(f"these shells are missing: {' '.join(missing)}" if missing else None)
    cases = [
        Case(shell, title, rc, Account(f"{shell}{number}", "password", str(SHELLS[shell])))
        for shell, titles in CASES.items()
        for number, (title, rc) in enumerate(titles.items())
    ]
    folder = tmp_path_factory.mktemp("shells")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with contextlib.ExitStack() as stack:
        made = Site(key, cases)
        for count in MAX_SESSIONS:
            config = f"MaxSessions {count}\nMaxStartups 100"
            server = OpenSSH(folder / str(count), [each.account for each in cases], config=config)
            made.servers[count] = stack.enter_context(server)
            for case in cases:
                case.install(server, key.with_suffix(".pub").read_text())
        yield made


def lines(text: bytes) -> list[str]:
    """Return the lines that must be the same, sorted, since `env` has an order of its own."""
    found = DEFINED_IN.sub("", text.decode(errors="replace")).split("\n")
    return sorted(each for each in found if not each.startswith(OWN) and each != "noise")


async def by_ssh(site: Site, case: Case) -> Answer:
    """Return the answer of OpenSSH's own client."""
    server = site.servers[MAX_SESSIONS[0]]
    options = [f"UserKnownHostsFile={server.known_hosts}", "BatchMode=yes", "LogLevel=ERROR"]
    process = await asyncio.create_subprocess_exec(
        *("ssh", "-F", "none", "-i", str(site.key), "-p", str(server.port)),
        *itertools.chain.from_iterable(("-o", each) for each in options),
        *(f"{case.account.name}@{server.host}", OUTPUT),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Answer(lines(stdout), lines(stderr), process.returncode)


@contextlib.asynccontextmanager
async def session_on(
    site: Site, case: Case, max_sessions: int, runner: bool
) -> AsyncIterator[Session]:
    server = site.servers[max_sessions]

    async def connect() -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            server.host,
            server.port,
            username=case.account.name,
            client_keys=[str(site.key)],
            known_hosts=str(server.known_hosts),
            agent_path=None,
            config=None,
        )

    session = Session(connect, runner=runner)
    try:
        yield session
    finally:
        await session.close()


async def by_resop(site: Site, case: Case, max_sessions: int, runner: bool) -> Answer:
    async with session_on(site, case, max_sessions, runner) as session:
        raw = await session.run(line_step(OUTPUT), LIMIT)
        has_runner = session.allocator.connections[0].runner is not None
    assert has_runner == (runner and case.title != READS_INPUT), "it is the way to be tried"
    return Answer(lines(raw.stdout), lines(raw.stderr), raw.exit_code)


async def test_steps_give_what_ssh_gives(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "START_TIMEOUT", 4.0)  # for the runner whose input is read
    few = asyncio.Semaphore(AT_ONCE)
    different: list[str] = []

    async def compare(case: Case) -> None:
        async with few:
            expected = await by_ssh(site, case)
        for max_sessions, runner in itertools.product(MAX_SESSIONS, (True, False)):
            async with few:
                found = await by_resop(site, case, max_sessions, runner)
            if case.shell == "fish" and not runner:
                found = dataclasses.replace(found, stderr=expected.stderr)
            if found != expected:
                way = "runner" if runner else "exec channels"
                where = f"{case.shell}, {case.title}, MaxSessions {max_sessions}, {way}:"
                different.append("\n".join([where, *difference(expected, found)]))

    async with asyncio.TaskGroup() as tasks:
        for case in site.cases:
            tasks.create_task(compare(case))
    assert not different, "\n".join(sorted(different))


async def test_files_begin_in_the_home_folder_wherever_rc_files_go(site: Site) -> None:
    for case in site.cases:
        if case.title in ("cd", "OLDPWD", "HOME"):
            async with (
                session_on(site, case, 1, runner=False) as session,
                open_sftp(session, LIMIT) as sftp,
            ):
                await sftp.mkdir(b"here")
                assert await sftp.realpath(b".") == str(case.account.home).encode()
            assert (site.servers[1].home(case.account.name) / "here").is_dir()
