"""Hold each task at the moment that its user's name asks for, until the worker is killed.

`k07b` waits before step 7 is sent, `k07s` sends a step 7 that waits before it acts, and the step 7
of `k07d` has acted and waits. `u` stands for undo steps: the creation fails after its last step. A
final `n` or `d` says whether the steps are durable. Only a worker that is started while the file
`armed` exists does this, and every worker notices a dead one within seconds.
"""

import asyncio
import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

from resop.errors import CommandFailed
from resop.steps.quoting import DirectExec, login_shell_line
from resop.steps.step import StepRequest

FOLDER = Path(__file__).parent
NAME = re.compile(r"\b([ku])(\d\d)([bsd])[nd]\b")
LAST_STEP = "test -d"
BEFORE = ": >/tmp/held-$0; exec sleep 600"
AFTER = '"$@"; : >/tmp/held-$0; exec sleep 600'


def hold_tasks() -> None:
    """Change the worker, in the process of a worker only."""
    sender = sys.modules.get("worker.step_sender")
    if sender is None:
        return
    recovery: Any = sys.modules["worker.recovery"]
    heartbeats: Any = sys.modules["worker.heartbeats"]
    heartbeats.HEARTBEAT_SECONDS = recovery.INTERVAL_SECONDS = 0.5
    recovery.DEAD_SECONDS = 2.5
    if not (FOLDER / "armed").exists():
        return
    sends, places = sender.StepSender._send, dict[str, re.Match[str]]()
    counts = dict[tuple[str, bool], int]()

    async def send(self: Any, step: StepRequest, *others: Any) -> Any:
        task = self._task_id
        if (found := NAME.search(step.display)) and task not in places:
            places[task] = found
        if task not in places:
            return await sends(self, step, *others)
        kind, number, phase = places[task].groups()
        counts[task, step.undo] = counts.get((task, step.undo), 0) + 1
        if counts[task, step.undo] == int(number) and step.undo == (kind == "u"):
            if phase == "b":
                (FOLDER / f"held-{places[task][0]}").touch()
                await asyncio.sleep(3600)
            step = _held(step, BEFORE if phase == "s" else AFTER, places[task][0])
        if kind == "u" and step.display.startswith(LAST_STEP):
            raise CommandFailed("the creation is to fail")
        return await sends(self, step, *others)

    sender.StepSender._send = send


def _held(step: StepRequest, script: str, name: str) -> StepRequest:
    assert step.program is not None
    program = step.program
    argv = ["/bin/sh", "-c", script, name, *program.argv]
    line = login_shell_line(argv, cwd=program.cwd, env=program.env)
    held = DirectExec(argv, program.cwd, program.env)
    return dataclasses.replace(step, line=line, program=held, timeout=600.0)


hold_tasks()
