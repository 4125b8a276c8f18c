"""Values parsed from the output of Slurm's clients."""

import pytest

from operators.slurm import parsing
from operators.slurm.parsing import JobId


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00", 0),
        ("1:30", 90),
        ("59:59", 3599),
        ("2:00:00", 7200),
        ("02:00:00", 7200),
        ("1-02:03:04", 93784),
        ("1-02", 93600),
        ("1-02:30", 95400),
        ("60", 3600),
        ("00:01.250", 1),
        ("UNLIMITED", None),
        ("Partition_Limit", None),
        ("NOT_SET", None),
        ("INVALID", None),
        ("N/A", None),
        ("", None),
    ],
)
def test_durations_are_seconds(text: str, seconds: int | None) -> None:
    assert parsing.parse_duration(text) == seconds


def test_no_time_limit_is_told_from_one_that_is_not_known() -> None:
    cases = {"UNLIMITED": ["UNLIMITED", "INFINITE", "infinite", "-1"], 3600: ["1:00:00", "60"]}
    cases |= {None: ["NOT_SET", "Partition_Limit", "INVALID", "N/A", "NONE", ""]}
    for limit, texts in cases.items():
        assert [parsing.parse_time_limit(text) for text in texts] == [limit] * len(texts)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500M", 500 << 20),
        ("500", 500 << 20),
        ("62.50G", 125 << 29),
        ("1.5T", 3 << 39),
        ("4000Mn", 4000 << 20),
        ("1Gc", 1 << 30),
        ("0", 0),
        ("(null)", None),
        ("", None),
    ],
)
def test_sizes_are_bytes(text: str, size: int | None) -> None:
    assert parsing.parse_size(text) == size


def test_a_bare_size_has_the_unit_that_is_told() -> None:
    assert parsing.parse_size("12", "K") == 12 << 10
    assert parsing.parse_size("12", "B") == 12


def test_resources_are_counts_and_bytes() -> None:
    assert parsing.parse_tres("cpu=16,mem=62.50G,node=1,billing=16,gres/gpu=2,gres/gpu:a100=2") == {
        "cpu": 16,
        "mem": 125 << 29,
        "node": 1,
        "billing": 16,
        "gres/gpu": 2,
        "gres/gpu:a100": 2,
    }
    assert parsing.parse_tres("") == parsing.parse_tres("(null)") == {}


def test_gpus_are_told_by_type_where_there_is_one() -> None:
    assert parsing.gpus_by_type({"gres/gpu": 3, "gres/gpu:a100": 2, "gres/gpu:v100": 1}) == {
        "a100": 2,
        "v100": 1,
    }
    assert parsing.gpus_by_type({"cpu": 4, "gres/gpu": 3}) == {"gpu": 3}
    assert parsing.gpus_by_type({"cpu": 4}) == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1700000000", "2023-11-14T22:13:20+00:00"),
        ("N/A", None),
        ("Unknown", None),
        ("None", None),
        ("0", None),
        ("", None),
    ],
)
def test_times_are_iso_8601_in_utc(text: str, shown: str | None) -> None:
    assert parsing.parse_time(text) == shown


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("(null)", []),
        ("None assigned", []),
        ("cn1", ["cn1"]),
        ("cn[01-03,07],gpu1", ["cn01", "cn02", "cn03", "cn07", "gpu1"]),
        ("r[1-2]n[09-10]", ["r1n09", "r1n10", "r2n09", "r2n10"]),
        ("a-b[8-11]-ib,c", ["a-b8-ib", "a-b9-ib", "a-b10-ib", "a-b11-ib", "c"]),
    ],
)
def test_node_lists_are_expanded(text: str, names: list[str]) -> None:
    assert parsing.expand_nodes(text) == names


def test_exit_codes_have_a_signal() -> None:
    assert parsing.parse_exit_code("0:9") == (0, 9)
    assert parsing.parse_exit_code("127:0") == (127, 0)
    assert parsing.parse_exit_code("") is None


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("123", JobId(123)),
        ("123_4", JobId(123, task=4)),
        ("123_[5-9:2,20%2]", JobId(123, tasks="5-9:2,20%2")),
        ("123+1", JobId(123, component=1)),
        ("123_4.batch", JobId(123, task=4, step="batch")),
        ("123+0.0", JobId(123, component=0, step="0")),
    ],
)
def test_job_ids_are_taken_apart(text: str, parsed: JobId) -> None:
    assert JobId.parse(text) == parsed


@pytest.mark.parametrize("text", ["", "x", "-1", "123_", "123_x", "123_4_5", "123+", "1 2", "1."])
def test_what_is_no_job_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a job id"):
        JobId.parse(text)


def test_tasks_of_an_array_are_expanded() -> None:
    assert parsing.expand_indexes("1,3,10-20:5%2") == [1, 3, 10, 15, 20]
    assert parsing.expand_indexes("7") == [7]
    assert parsing.count_indexes("1,3,10-20:5%2") == 5


def test_what_stands_for_no_value_is_none() -> None:
    assert [parsing.parse_text(text) for text in ("(null)", "N/A", "x")] == [None, None, "x"]
    assert parsing.split_names("a,b") == ["a", "b"]
    assert parsing.split_names("(null)") == parsing.split_names("") == []
    assert (parsing.parse_int("12"), parsing.parse_int("12.5"), parsing.parse_int("x")) == (
        12,
        None,
        None,
    )
    assert (parsing.parse_float("12.5"), parsing.parse_float("N/A")) == (12.5, None)
