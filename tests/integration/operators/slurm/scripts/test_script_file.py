"""Scripts on the cluster, as a shell on the login node prepares them for sbatch."""

import subprocess
from pathlib import Path

from operators.slurm.scripts.script_file import (
    CONVERT,
    HEADER_SHOWN,
    MAX_HEADER,
    SHOW_HEADER,
    parse_header,
)
from resop import Result

PLAIN = "#!/bin/sh\n# no lines for sbatch\nid\n"
LINES = "#!/bin/sh\n#SBATCH -o 'a b'\nid\n"
DOS = "#!/bin/sh\r\n\r\nprintf 'ü|\r\n%s' \"$1\"\r\n"


def prepared(lines: str, file: Path) -> subprocess.CompletedProcess[str]:
    """Run the lines of shell for a file, and then a command that prints its standard input."""
    argv = ["/bin/sh", "-c", f'{lines}exec "$@"', "slurm", str(file), "cat"]
    return subprocess.run(argv, input="", capture_output=True, text=True, check=False)


def test_lines_of_a_script_are_shown_before_sbatch_runs(tmp_path: Path) -> None:
    long = f"#!/bin/sh\n{'# x' * MAX_HEADER}\n#SBATCH -J late\n"
    cases = {PLAIN: None, LINES: ("unix", LINES), DOS: ("dos", DOS), "": None, long: None}
    file = tmp_path / "it's a script.sh"
    for text, shown in cases.items():
        file.write_bytes(text.encode())
        ran = subprocess.run(
            ["/bin/sh", "-c", f'{SHOW_HEADER}exec "$@"', "slurm", file, "echo", "ran"],
            capture_output=True,
            check=False,
        )
        answer = Result(command="sbatch", stdout=ran.stdout.decode(), exit_code=ran.returncode)
        header = parse_header(answer)
        if shown is None:
            assert (header, ran.stdout) == (None, b"ran\n"), text
        else:
            assert ran.returncode == HEADER_SHOWN
            assert header == (shown[1].replace("\r\n", "\n"), shown[0] == "dos"), text
    ran_without = prepared(SHOW_HEADER, tmp_path / "missing.sh")
    assert (ran_without.returncode, ran_without.stdout) == (0, "")


def test_script_with_windows_line_ends_is_converted_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "-dos.sh"
    file.write_bytes(DOS.encode())
    ran = prepared(CONVERT, file)
    assert (ran.stdout, ran.stderr) == (DOS.replace("\r\n", "\n"), "")
    assert file.read_bytes() == DOS.encode()
    failed = prepared(CONVERT, tmp_path / "missing.sh")
    assert (failed.returncode != 0, failed.stdout) == (True, "")
