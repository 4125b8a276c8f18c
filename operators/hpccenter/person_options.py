"""Options that describe a person in the directory, in Slurm and in the portal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.users import PortalRole
from operators.hpccenter.systems import SystemName, check_option
from operators.ldap.people import (
    AsciiPath,
    DirectoryFullName,
    IdNumber,
    MailAddress,
    PublicKey,
)
from operators.slurm.association_options import AssociationOptions


class PersonOptions(AssociationOptions, total=False):
    """Options of a creation and of a change; what is not given has a default, or stays."""

    given_name: Annotated[DirectoryFullName | None, Field(description="given names")]
    surname: Annotated[
        DirectoryFullName | None,
        Field(description="surname (default: the last word of the full name)"),
    ]
    gid_number: Annotated[IdNumber | None, Field(description="primary group's id")]
    home: Annotated[AsciiPath | None, Field(description="home folder, which is not moved")]
    login_shell: Annotated[AsciiPath | None, Field(description="login shell")]
    mail_aliases: Annotated[
        list[MailAddress] | None, Field(description="all further mail addresses")
    ]
    ssh_keys: Annotated[list[PublicKey] | None, Field(description="all public SSH keys")]
    role: Annotated[PortalRole | None, Field(description="role in the portal")]


class OptionsBySystem(TypedDict):
    """The given options of a person, by the system that they are for."""

    directory: dict[str, Any]
    slurm: dict[str, Any]
    portal: dict[str, Any]


DIRECTORY_OPTIONS = (
    *("given_name", "surname", "gid_number", "home", "login_shell", "mail_aliases", "ssh_keys"),
    *("uid_number", "expires"),
)


def split_options(site: list[SystemName], options: Mapping[str, Any]) -> OptionsBySystem:
    """Return the given options by system.

    Raises InvalidOptions for an option of a system that the site does not have.
    """
    by_system = OptionsBySystem(directory={}, slurm={}, portal={})
    for name, value in options.items():
        system: SystemName = "slurm"
        if name in DIRECTORY_OPTIONS:
            system = "directory"
        elif name == "role":
            system = "portal"
        check_option(site, system, name, value, required=False)
        if value is not None:
            by_system[system][name] = value
    return by_system
