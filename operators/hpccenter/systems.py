"""The systems in which a site keeps its users: the directory, Slurm and the portal.

The setting HPCCENTER_SYSTEMS names them. Without it they are Slurm, the directory if LDAP_URI is
set, and the portal if PORTAL_PASSWORD is and PORTAL_ENGINE is not "none".
"""

from __future__ import annotations

from typing import Literal

from operators.db.portal import has_portal
from operators.ldap.settings import words_setting
from resop import InvalidOptions, Shell

SystemName = Literal["directory", "slurm", "portal"]
SYSTEMS: tuple[SystemName, ...] = ("directory", "slurm", "portal")
"""All systems that resop knows, in the order in which a user is created."""


def site_systems(shell: Shell) -> list[SystemName]:
    """Return the systems that this site has, in the order in which a user is created."""
    named = [word.lower() for word in words_setting(shell, "HPCCENTER_SYSTEMS")]
    if unknown := [word for word in named if word not in SYSTEMS]:
        shell.fail(
            f"the setting HPCCENTER_SYSTEMS may name {', '.join(SYSTEMS)}, not {unknown[0]!r}"
        )
    if named:
        return [system for system in SYSTEMS if system in named]
    configured = {
        "directory": bool(shell.setting("LDAP_URI", "")),
        "slurm": True,
        "portal": has_portal(shell),
    }
    return [system for system in SYSTEMS if configured[system]]


def check_option(
    site: list[SystemName], system: SystemName, name: str, value: object, *, required: bool = True
) -> None:
    """Raise InvalidOptions if an option is missing, or is for a system that the site has not."""
    if system in site and value is None and required:
        raise InvalidOptions.of(name, f"is required: this site has the system {system}")
    if system not in site and value is not None:
        raise InvalidOptions.of(name, f"must not be given: this site has no system {system}")
