"""Read the output of steps: pieces while a step is running, the whole output when it ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import func, select

from resop.storage.database import Database
from resop.storage.models import STEP, STEP_OUTPUT, StepOutput

ROWS_PAGE = 20
"""Rows read in one query: each may have 64 Ki characters."""
OUTPUTS_PAGE = 50
"""Short outputs read in one query."""
SHORT_OUTPUT_CHARACTERS = 1 << 14

OutputPair = tuple[str | None, str | None]
"""Standard output and standard error."""


class StepOutputStore:
    """Reads the output of steps. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ends(self, task_id: str, *, after: int = 0) -> dict[int, int]:
        """Return the number of the last row after `after`, by step."""
        last = func.max(STEP_OUTPUT.c.number)
        chosen = STEP_OUTPUT.c.task == task_id, STEP_OUTPUT.c.number > after
        query = select(STEP_OUTPUT.c.step, last).where(*chosen).group_by(STEP_OUTPUT.c.step)
        with self._database.read() as db:
            return {row.step: row[1] for row in db.execute(query)}

    def rows(self, task_id: str, *, after: int, until: int) -> list[StepOutput]:
        """Return the next rows with `after` < number <= `until`, at most ROWS_PAGE of them."""
        chosen = (
            STEP_OUTPUT.c.task == task_id,
            STEP_OUTPUT.c.number > after,
            STEP_OUTPUT.c.number <= until,
        )
        query = select(STEP_OUTPUT).where(*chosen).order_by(STEP_OUTPUT.c.number).limit(ROWS_PAGE)
        with self._database.read() as db:
            return [StepOutput(**row._mapping) for row in db.execute(query)]

    def outputs(self, task_id: str, steps: Sequence[int]) -> Iterator[OutputPair]:
        """Yield the output of each of these ended steps, read in pages."""
        page: dict[int, OutputPair] = {}
        for position, step in enumerate(steps):
            if step not in page:
                page = self._page(task_id, step, steps[position : position + OUTPUTS_PAGE])
            yield page.get(step, (None, None))

    def _page(self, task_id: str, first: int, steps: Sequence[int]) -> dict[int, OutputPair]:
        """Return the output of step `first`, and the outputs among `steps` that are short."""
        sizes = (func.coalesce(func.length(each), 0) for each in (STEP.c.stdout, STEP.c.stderr))
        chosen = (STEP.c.number == first) | (sum(sizes) <= SHORT_OUTPUT_CHARACTERS)
        query = select(STEP.c.number, STEP.c.stdout, STEP.c.stderr).where(
            STEP.c.task == task_id, STEP.c.number.in_(steps), chosen
        )
        with self._database.read() as db:
            return {row.number: (row.stdout, row.stderr) for row in db.execute(query)}

    def so_far(self, task_id: str, steps: Collection[int]) -> dict[int, tuple[str, str]]:
        """Return the output so far, by step, of the steps among `steps` that have any."""
        chosen = STEP_OUTPUT.c.task == task_id, STEP_OUTPUT.c.step.in_(steps)
        columns = STEP_OUTPUT.c.step, STEP_OUTPUT.c.stream, STEP_OUTPUT.c.text
        found: defaultdict[int, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        with self._database.read() as db:
            for step, stream, text in db.execute(
                select(*columns).where(*chosen).order_by(STEP_OUTPUT.c.number)
            ):
                found[step][stream - 1].append(text)
        return {step: ("".join(out), "".join(err)) for step, (out, err) in found.items()}
