"""The names, the URL path and the limits that commands and operations have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from resop.types import ActionKind, KindCode


class ActionBase:
    """An action of an operator, as the API lists and describes it."""

    kind: ClassVar[ActionKind]

    operator: str
    """The name of the operator's folder."""
    name: str
    description: str
    options: type[BaseModel]
    """The model that a request's options are validated with."""
    examples: Sequence[dict[str, Any]]
    """Valid options, as a request would send them."""
    timeout: float | None
    """The time limit in seconds; TASK_TIMEOUT if None."""
    share_for: float | None
    """How many seconds identical requests of a user share one answer; None for not at all."""
    dry_run: bool = False
    """True if a dry run runs the action's reading steps in a worker."""
    runs_code: bool = False
    """True if the action runs a program of the caller's choice, or places files that are run."""
    in_api: bool = False
    """True if the action runs in the API process instead of a worker, such as the login."""

    @property
    def title(self) -> str:
        """The action in answers, policies and logs: `operator:name`."""
        return f"{self.operator}:{self.name}"

    @property
    def kind_code(self) -> KindCode:
        """The kind in a URL path: `cmd` or `opn`."""
        return self.kind.code

    @property
    def path(self) -> str:
        """The URL path, such as `/slurm/opn/sweep`."""
        return f"/{self.operator}/{self.kind_code}/{self.name}"
