"""The parts of a request (bench/parts.py) are told from the marks that were made on its way."""

from bench.parts import PARTS, Mark, between

ONE_STEP = [("sent", 0), ("request", 1), ("to be sent", 4), ("step ended", 9), ("answered", 10)]
END = "received by the caller"


def marks(begin: int, *made: tuple[str, int]) -> list[Mark]:
    """At so many milliseconds after the begin."""
    return [(what, (begin + after) * 1_000_000) for what, after in made]


def told(found: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: each for name, each in found.items() if each}


def test_each_part_is_what_lies_before_its_mark() -> None:
    made = [*marks(0, *ONE_STEP, (END, 12)), *marks(20, *ONE_STEP, (END, 13))]
    found = between([*made[1:4], made[0], *made[4:]])  # of several processes, in no order
    assert list(found) == list(PARTS)
    assert told(found) == {
        "request": [1, 1],
        "to be sent": [3, 3],
        "step ended": [5, 5],
        "answered": [1, 1],
        END: [2, 3],
    }


def test_steps_are_told_from_what_lies_between_them() -> None:
    steps = [("to be sent", 2), ("step ended", 5), ("to be sent", 6), ("step ended", 10)]
    found = between(marks(0, ("sent", 0), *steps, ("answered", 11), (END, 12)))
    assert told(found) == {
        "to be sent": [2],
        "step ended": [3 + 4],
        "between steps": [1],
        "answered": [1],
        END: [1],
    }


def test_mark_that_comes_late_takes_nothing_from_the_steps() -> None:
    # The worker may have begun before the API has been told that the message is there.
    steps = [("to be sent", 2), ("published", 3), ("step ended", 5), ("to be sent", 6)]
    found = between(marks(0, ("sent", 0), *steps, ("step ended", 10), (END, 12)))
    assert found["step ended"] == [3 + 4]
    assert found["between steps"] == [1]


def test_what_the_request_before_has_left_is_not_counted() -> None:
    left = [("heard", 1), ("request", 2), ("heard", 6), ("answered", 7)]
    found = between(marks(0, ("sent", 0), *left, (END, 8)))
    assert told(found) == {"request": [2], "heard": [4], "answered": [1], END: [1]}
