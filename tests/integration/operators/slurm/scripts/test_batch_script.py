"""Batch scripts, run by the interpreters that they name."""

import os
import subprocess
from pathlib import Path

import pytest

from operators.slurm.scripts.batch_script import quote, with_preparation

HURTFUL = [
    "",
    'it\'s $(id) `id` \\ "q" !',
    "two\r\nlines\r",
    "\n\nat the end\n\n",
    "#SBATCH --hold\nü 😀\tEND_OF_SCRIPT",
]


def run(script: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a script as slurmd does: by its first line, in the folder of the job."""
    file = folder / "slurm_script"
    file.write_text(script, newline="")
    file.chmod(0o700)
    command = [str(file), *words]
    environ = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize("value", HURTFUL)
def test_quoted_text_is_one_word_and_holds_no_dos_line_end(
    shell: str, value: str, tmp_path: Path
) -> None:
    script = with_preparation(f'#!{shell}\nprintf \'%s|\' "$A" "$@"', f"export A={quote(value)}\n")
    assert "\r\n" not in script
    ran = subprocess.run([shell, "-c", f"printf '%s|' {quote(value)}"], capture_output=True)
    assert ran.stdout.decode() == f"{value}|"
    (tmp_path / "job").write_text(script, newline="")
    ran = subprocess.run([shell, tmp_path / "job", "x y"], capture_output=True)
    assert ran.stdout.decode() == f"{value}|x y|"


def test_script_of_another_interpreter_gets_variables_arguments_and_keeps_its_exit_code(
    tmp_path: Path,
) -> None:
    text = (
        "#!/usr/bin/env python3\n#SBATCH --time=5\nimport os, signal, sys\n"
        "end = '''\nEND_OF_SCRIPT\n'''\n"
        "again = open(__file__).read().count('again')\n"
        "print(ascii(os.environ['A']), sys.argv[1:], len(end), again, sys.path[0])\n"
        "if sys.argv[1] == 'signal':\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.exit(7)"
    )
    script = ""
    for value in HURTFUL:
        script = with_preparation(text, f"export A={quote(value)}\n")
        ran = run(script, tmp_path, "a b", "")
        assert ran.stdout == f"{value!a} ['a b', ''] 15 3 {tmp_path}\n", ran.stderr
        assert ran.returncode == 7
    assert run(script, tmp_path, "signal").returncode == -15
    assert [each.name for each in tmp_path.iterdir()] == ["slurm_script"]
