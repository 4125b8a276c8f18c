"""Durations, sizes and states as people read them."""

import pytest

from api.pages.values import duration, has_ended, page_id, size, state_class


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00:00"),
        (59.9, "0:00:59"),
        (3661, "1:01:01"),
        (183845, "2-03:04:05"),
        ("UNLIMITED", "UNLIMITED"),
        (None, ""),
    ],
)
def test_durations_are_written_as_slurm_does(seconds: float | str | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1010 << 20, "1010 MiB"),
        (1536 << 20, "1.5 GiB"),
        (5 << 60, "5120 PiB"),
        (None, ""),
    ],
)
def test_sizes_are_in_the_largest_unit(count: int | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("COMPLETED", "succeeded"),
        ("FAILED", "failed"),
        ("CANCELLED by 1000", ""),
        ("RUNNING", "running"),
        ("PENDING", ""),
        ("", ""),
    ],
)
def test_states_have_the_colour_of_their_kind(state: str, word: str) -> None:
    assert state_class(state) == word


@pytest.mark.parametrize("state", ["COMPLETED", "BOOT_FAIL", "CANCELLED by 1000", "PREEMPTED"])
def test_job_that_has_ended_changes_no_more(state: str) -> None:
    assert has_ended(state)


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "COMPLETING", "REQUEUED", "SUSPENDED"])
def test_other_jobs_may_change(state: str) -> None:
    assert not has_ended(state)


@pytest.mark.parametrize(
    ("id", "page"), [("7", "7"), ("7_3", "7_3"), ("7_[1-5%2]", "7"), ("7+1", "7+1")]
)
def test_pending_tasks_have_the_page_of_their_array(id: str, page: str) -> None:
    assert page_id(id) == page
