"""Records of one job number in the queue and in the accounting database."""

from typing import cast

from operators.slurm.accounting import PastJob, drop_reused
from operators.slurm.job_types import Job

OLD, NEW, LATER = "2020-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00", "2026-01-01T00:05:00"


def record(id: str, submitted: str | None) -> PastJob:
    return cast(PastJob, {"id": id, "submitted": submitted})


def test_earlier_job_with_the_number_of_a_job_in_the_queue_does_not_count() -> None:
    cases: list[tuple[dict[str, str | None], list[tuple[str, str]], list[str]]] = [
        ({"7": NEW}, [("7", OLD)], []),
        ({"7": NEW}, [("7", NEW)], ["7"]),
        ({"7": NEW}, [("7", LATER)], ["7"]),
        ({"7": None}, [("7", OLD)], ["7"]),
        ({}, [("7", OLD)], ["7"]),
        # A requeued task was submitted again, the other tasks of its array were not.
        ({"7_4": LATER}, [("7_1", NEW), ("7_4", NEW)], ["7_1"]),
    ]
    for queue, past, kept in cases:
        queued = [cast(Job, record(id, submitted)) for id, submitted in queue.items()]
        found = drop_reused([record(*each) for each in past], queued)
        assert [job["id"] for job in found] == kept, (queue, past)
