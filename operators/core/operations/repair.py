"""Undo what a failed task has left: run the steps that its `needs_repair` lists."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from resop import ErrorMessage, Shell, operation

TaskId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9-]{1,36}$", description="id of the failed task"),
    ErrorMessage("must be the id of a task"),
]


class RepairResult(TypedDict):
    """The repaired task, and what was undone."""

    task: str
    undone: list[str]
    """The command lines that were run, without the ones that found nothing to undo."""


@operation(examples=[{"task": "019ad0e8-6c1f-7d42-9b53-0a5f3c1e2d47"}])
def repair(shell: Shell, task: TaskId) -> RepairResult:
    """Return what was undone. Run again, it finds nothing to do.

    The steps become those of this task: if one of them fails, or the worker dies, they are in the
    `needs_repair` of this task. Administrators can repair tasks of other users, except for steps on
    the login node that only its user can run.
    """
    undone, needs_repair, left = shell.repair(task)
    for command in undone:
        shell.log(f"undone: {command}")
    if needs_repair:
        shell.fail(f"not all that the task {task} has left is undone: see needs_repair")
    if left:
        shell.fail(f"only the user of the task {task} can undo what is left: {'; '.join(left)}")
    return RepairResult(task=task, undone=undone)
