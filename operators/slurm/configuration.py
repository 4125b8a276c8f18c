"""Read what slurmctld is configured with; the names are those of slurm.conf(5)."""

from __future__ import annotations

import re

from operators.slurm.client import ask, unreadable
from operators.slurm.parsing import parse_duration, split_names
from resop import OperationFailed, Shell

_SETTING = re.compile(r"^([A-Za-z_]+)\s*= ?(.*)$", re.MULTILINE)

Configuration = dict[str, str]


def read_configuration(shell: Shell) -> Configuration:
    """Return the settings of slurm.conf that slurmctld uses, by name."""
    answer = ask(shell, "scontrol", "show", "config")
    settings = {name: value.strip() for name, value in _SETTING.findall(answer.stdout)}
    if "SlurmctldPort" not in settings:
        raise unreadable("scontrol", answer.stdout)
    return settings


def require_multifactor(settings: Configuration) -> None:
    """Raise OperationFailed unless the cluster computes priorities from several factors."""
    kind = settings.get("PriorityType", "")
    if kind != "priority/multifactor":
        message = (
            "this cluster has no fair shares and no factors of priorities: its PriorityType is "
            f"{kind or 'unknown'}, not priority/multifactor"
        )
        raise OperationFailed(message)


def uses_fair_tree(settings: Configuration) -> bool:
    """Return True if fair shares are computed by the Fair Tree algorithm, Slurm's default."""
    return "NO_FAIR_TREE" not in split_names(settings.get("PriorityFlags", ""))


def usage_half_life(settings: Configuration) -> int | None:
    """Return the seconds after which past usage counts half; None: it counts in full."""
    return parse_duration(settings.get("PriorityDecayHalfLife", "")) or None


def enforces_limits(settings: Configuration) -> bool:
    """Return True if slurmctld counts the use of limits and enforces them."""
    enforced = split_names(settings.get("AccountingStorageEnforce", ""))
    return not {"limits", "safe", "all"}.isdisjoint(enforced)
