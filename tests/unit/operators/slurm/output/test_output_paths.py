"""Names of output files: patterns, paths that need a shell, and folders."""

from typing import cast

import pytest

from operators.slurm.job_types import Job
from operators.slurm.scripts.batch_script import (
    component_options,
    is_heterogeneous,
    script_options,
)
from operators.slurm.scripts.filename_patterns import (
    complete_path,
    default_pattern,
    fill_pattern,
    fill_with_host,
    is_discarded,
    path_of,
)
from operators.slurm.submission.output_folders import (
    JobFolder,
    expand_home,
    folders_of,
    resolve_paths,
)
from resop import InvalidOptions


def job(**values: object) -> Job:
    """Return what the patterns need of a job."""
    given = {"raw_id": 4250, "job": 4243, "task": None, "user": "alice", "name": "sim"}
    return cast(Job, {**given, "node_names": ["cn01"], "work_dir": "/home/alice", **values})


def test_every_letter_is_filled_as_slurmstepd_does() -> None:
    plain = {
        "%j": "4250", "%J": "4250", "%A": "4250", "%a": "4294967294", "%b": "4",
        "%N": "cn01", "%n": "0", "%s": "batch", "%t": "0", "%u": "alice", "%x": "sim",
        "%8j": "00004250", "%2j": "4250", "%99j": "0000004250", "%4t": "0000", "%5x": "sim",
        "%%j": "%j", "%%%j": "%4250", "%q": "%q", "100%": "100%", "%5": "%5",
        "\\%j": "%j", "a\\\\b%j": "a\\b%j",
    }  # fmt: skip
    for pattern, name in plain.items():
        assert path_of(job(), pattern) == f"/home/alice/{name}", pattern
    task = {"%A_%a": "4243_7", "%4a": "0007", "%b": "7", "%j": "4250", "%A/%x.%s": "4243/sim.batch"}
    for pattern, name in task.items():
        assert path_of(job(task=7), pattern) == f"/home/alice/{name}", pattern
    assert path_of(job(task=123), "%3b") == "/home/alice/003"
    assert path_of(job(), "/x/%j") == "/x/4250"
    assert path_of(job(node_names=[]), "%N") == "/home/alice/%N"
    assert (default_pattern(job()), default_pattern(job(task=7))) == (
        "slurm-%j.out",
        "slurm-%A_%a.out",
    )
    assert all(map(is_discarded, ("/dev/null", "none", "NONE", "/dev//null")))
    assert not is_discarded("nonesuch")
    assert fill_pattern("%j", {}) == "%j"


def test_paths_that_scontrol_filled_in_part_are_completed() -> None:
    task = job(task=7)
    assert complete_path(task, "/x/4243_%4a.out") == "/x/4243_0007.out"
    assert complete_path(task, "/x/%n-%t-%s-%N.out") == "/x/0-0-batch-cn01.out"
    assert complete_path(task, "/x/plain.out") == "/x/plain.out"
    for uncertain in ("/x/\\4250", None):
        assert complete_path(task, uncertain) == uncertain
    assert complete_path(job(name="50%4a"), "/x/50%4a") == "/x/50%4a"


def test_home_folder_is_expanded_and_other_variables_are_refused() -> None:
    cases = {"~/a/%j": "a/%j", "~": ".", "$HOME/a": "a", "${HOME}/a": "a", "a~b": "a~b", "5$": "5$"}
    for path, expanded in cases.items():
        assert expand_home(path, "output") == expanded, path
    for path in ("~bob/x", "$WORK/x", "a/${X}", "x$(id)"):
        with pytest.raises(InvalidOptions, match="does not expand"):
            expand_home(path, "output")
    with pytest.raises(InvalidOptions, match="relative to the working folder proj"):
        expand_home("~/x", "output", inside="proj")
    assert expand_home("x", "output", inside="proj") == "x"


def test_folders_are_those_of_the_files_in_the_working_folder() -> None:
    patterns = ["a/%j", "a/x", "b%j/x", "plain", "/dev/null", "none", "e\\sc/x", "/abs/x"]
    assert folders_of(patterns, None) == [
        JobFolder("output", "./a"),
        JobFolder("pattern", "./b%j"),
        JobFolder("output", "/abs"),
    ]
    assert folders_of(["a/x"], "proj") == [
        JobFolder("start", "proj"),
        JobFolder("output", "./proj/a"),
    ]


def test_script_has_its_options_before_its_first_command() -> None:
    script = "\n".join(
        [
            "#!/bin/sh",
            "#SBATCH -o 'my %j.out' # where it goes",
            "# SBATCH -o no",
            "",
            '  #  a comment\n#SBATCH --error="e.txt" -J x',
            "true",
            "#SBATCH -o late",
        ]
    )
    assert script_options(script) == {"output": "my %j.out", "error": "e.txt", "job-name": "x"}
    assert script_options("#!/bin/sh\n#SBATCH -o 'open\n#SBATCH -e e\n") == {"error": "e"}
    mixed = "#!/bin/sh\r\n\r\n#SBATCH -o a\r\n#SBATCH hetjob\r\n#SBATCH -d afterok:7\r\nid\r\n"
    assert component_options(mixed) == [{"output": "a"}, {"dependency": "afterok:7"}]
    assert script_options(mixed) == {"output": "a"}
    assert is_heterogeneous(mixed) and not is_heterogeneous("#!/bin/sh\nid\n#SBATCH hetjob\n")


def test_first_component_of_a_heterogeneous_job_has_the_output() -> None:
    script = "#!/bin/sh\n#SBATCH -o ~/a/%j\n#SBATCH hetjob\n#SBATCH -o $WORK/b\n"
    assert resolve_paths({}, script) == ({"output": "a/%j"}, [JobFolder("output", "./a")])
    with pytest.raises(InvalidOptions, match="path: Slurm does not expand"):
        resolve_paths({}, "#!/bin/sh\n#SBATCH -D $WORK\n", field="path")


def test_host_of_a_file_may_have_another_name_than_the_node() -> None:
    for pattern, path in {"%N/%j": "h/4250", "%j-%9N": "4250-h", "plain": "plain"}.items():
        assert fill_with_host(job(), pattern, "h") == f"/home/alice/{path}"
