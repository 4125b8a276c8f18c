"""Test that bench/phases.py splits requests into phases by their marks."""

from bench.phases import PHASES, Mark, phase_times

ONE_STEP = [("sent", 0), ("request", 1), ("to be sent", 4), ("step ended", 9), ("answered", 10)]
END = "received by the caller"


def marks(begin: int, *offsets: tuple[str, int]) -> list[Mark]:
    """Create marks at these offsets from `begin`, all in milliseconds."""
    return [(name, (begin + offset) * 1_000_000) for name, offset in offsets]


def nonempty(times: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: values for name, values in times.items() if values}


def test_each_phase_ends_at_its_mark() -> None:
    both = [*marks(0, *ONE_STEP, (END, 12)), *marks(20, *ONE_STEP, (END, 13))]
    times = phase_times([*both[1:4], both[0], *both[4:]])  # marks of several processes, unordered
    assert list(times) == list(PHASES)
    assert nonempty(times) == {
        "request": [1, 1],
        "to be sent": [3, 3],
        "step ended": [5, 5],
        "answered": [1, 1],
        END: [2, 3],
    }


def test_time_between_steps_is_a_phase_of_its_own() -> None:
    steps = [("to be sent", 2), ("step ended", 5), ("to be sent", 6), ("step ended", 10)]
    times = phase_times(marks(0, ("sent", 0), *steps, ("answered", 11), (END, 12)))
    assert nonempty(times) == {
        "to be sent": [2],
        "step ended": [3 + 4],
        "between steps": [1],
        "answered": [1],
        END: [1],
    }


def test_late_mark_takes_no_time_from_the_steps() -> None:
    # The worker may start before the API learns that its message was published.
    steps = [("to be sent", 2), ("published", 3), ("step ended", 5), ("to be sent", 6)]
    times = phase_times(marks(0, ("sent", 0), *steps, ("step ended", 10), (END, 12)))
    assert times["step ended"] == [3 + 4]
    assert times["between steps"] == [1]


def test_marks_of_the_previous_request_do_not_count() -> None:
    others = [("API notified", 1), ("request", 2), ("API notified", 6), ("answered", 7)]
    times = phase_times(marks(0, ("sent", 0), *others, (END, 8)))
    assert nonempty(times) == {"request": [2], "API notified": [4], "answered": [1], END: [1]}
