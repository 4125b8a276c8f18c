"""The script that gives the state of a bash to another one: what it has, and in which order."""

import os
from pathlib import Path

import pytest

from resop.ssh.runner.remote.bash_state import environ_for, script_of
from resop.ssh.runner.remote.shell import _unnamed_file

STATE = rb"""declare -- A="1"
declare -- BASH_COMMAND="declare -p"
declare -i RANDOM="4711"
declare -x EXPORTED="in the environment"
declare -rx TMOUT="900"
declare -a list=([0]="a" [1]="b
c")
declare -- POSIXLY_CORRECT="y"
declare -r SHELLOPTS="braceexpand:interactive-comments:posix:vi:xtrace"
resop:
shopt -u dotglob
shopt -s extglob
shopt -s sourcepath
resop:
alias ll='ls -l'
resop:
trap -- 'echo bye' EXIT
resop:
my-func ()
{
    echo resop:
}
"""


def test_script_has_what_the_environment_does_not_carry_in_the_order_that_bash_needs() -> None:
    environ = {b"POSIXLY_CORRECT": b"1", b"BASH_ENV": b"it's", b"LANG": b"C", b"SHELLOPTS": b"x"}
    assert script_of(STATE, environ).splitlines() == [
        rb"\export BASH_ENV='it'\''s'",
        rb"{ :; \export LANG='C'; :; :; :; :; :; :; } 2>/dev/null",
        b"shopt -s extglob sourcepath",
        b"shopt -u dotglob",
        b"shopt -u inherit_errexit 2>/dev/null",
        b'declare -- A="1"',
        b'declare -rx TMOUT="900"',
        b'declare -a list=([0]="a" [1]="b',
        b'c")',
        *(b"my-func ()", b"{", b"    echo resop:", b"}", b""),
        b"alias ll='ls -l'",
        b"",
        rb"\export SHELLOPTS",
        rb"\export POSIXLY_CORRECT='1'",
        rb"\set -o posix -o vi +o hashall",
        b"trap -- 'echo bye' EXIT",
        b"",
        rb"\set -o xtrace",
    ]


def test_bash_reads_the_script_before_it_reads_anything_of_its_environment() -> None:
    environ = {
        b"A": b"1",
        b"BASH_ENV": b"of the user",
        b"BASH_FUNC_f%%": b"() { :; }",
        b"LC_ALL": b"C",
        b"POSIXLY_CORRECT": b"",
        b"SHELLOPTS": b"xtrace",
    }
    assert environ_for(environ, b"script") == {b"A": b"1", b"BASH_ENV": b"script"}


@pytest.mark.parametrize("state", [b"", b"resop:\n" * 3])
def test_other_shells_have_no_such_state(state: bytes) -> None:
    with pytest.raises(ValueError, match="unpack"):
        script_of(state, {})


def test_script_is_in_a_file_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        file = _unnamed_file(b"x" * 300_000)
        assert Path(f"/proc/self/fd/{file}").read_bytes() == b"x" * 300_000
        assert os.fstat(file).st_nlink == 0
        os.close(file)
        monkeypatch.delattr(os, "memfd_create", raising=False)  # Python 3.7 and older
