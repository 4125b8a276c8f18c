"""What steps have printed, as the record has it: in rows while they run, whole when they ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import func, select

from resop.storage.database import Database
from resop.storage.models import STEP, STEP_OUTPUT, StepOutput

_GROUP = 20
"""Rows read at a time: each may have 64 Ki characters."""
_STEPS = 50
_SHORT = 1 << 14
"""So many outputs, of at most so many characters each, are read at a time."""

Whole = tuple[str | None, str | None]
"""Standard output and standard error."""


class StepOutputStore:
    """The queries behind live output. They block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ends(self, task_id: str, *, after: int = 0) -> dict[int, int]:
        """The steps that have rows after that number, and the last of each."""
        last = func.max(STEP_OUTPUT.c.number)
        chosen = STEP_OUTPUT.c.task == task_id, STEP_OUTPUT.c.number > after
        query = select(STEP_OUTPUT.c.step, last).where(*chosen).group_by(STEP_OUTPUT.c.step)
        with self._database.read() as db:
            return {row.step: row[1] for row in db.execute(query)}

    def rows(self, task_id: str, *, after: int, until: int) -> list[StepOutput]:
        """The next rows after a number, up to another one, but not all of very many."""
        chosen = (
            STEP_OUTPUT.c.task == task_id,
            STEP_OUTPUT.c.number > after,
            STEP_OUTPUT.c.number <= until,
        )
        query = select(STEP_OUTPUT).where(*chosen).order_by(STEP_OUTPUT.c.number).limit(_GROUP)
        with self._database.read() as db:
            return [StepOutput(**row._mapping) for row in db.execute(query)]

    def outputs(self, task_id: str, steps: Sequence[int]) -> Iterator[Whole]:
        """What each of these steps, which have ended, printed; read as they are taken."""
        found: dict[int, Whole] = {}
        for at, step in enumerate(steps):
            if step not in found:
                found = self._wholes(task_id, step, steps[at : at + _STEPS])
            yield found.get(step, (None, None))

    def _wholes(self, task_id: str, first: int, steps: Sequence[int]) -> dict[int, Whole]:
        """The output of the first of some steps, and those of the others that are short."""
        sizes = (func.coalesce(func.length(each), 0) for each in (STEP.c.stdout, STEP.c.stderr))
        chosen = (STEP.c.number == first) | (sum(sizes) <= _SHORT)
        query = select(STEP.c.number, STEP.c.stdout, STEP.c.stderr).where(
            STEP.c.task == task_id, STEP.c.number.in_(steps), chosen
        )
        with self._database.read() as db:
            return {row.number: (row.stdout, row.stderr) for row in db.execute(query)}

    def so_far(self, task_id: str, steps: Collection[int]) -> dict[int, tuple[str, str]]:
        """What the rows of these steps make, of those that have any."""
        chosen = STEP_OUTPUT.c.task == task_id, STEP_OUTPUT.c.step.in_(steps)
        columns = STEP_OUTPUT.c.step, STEP_OUTPUT.c.stream, STEP_OUTPUT.c.text
        found: defaultdict[int, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        with self._database.read() as db:
            for step, stream, text in db.execute(
                select(*columns).where(*chosen).order_by(STEP_OUTPUT.c.number)
            ):
                found[step][stream - 1].append(text)
        return {step: ("".join(out), "".join(err)) for step, (out, err) in found.items()}
