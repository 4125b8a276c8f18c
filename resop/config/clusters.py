"""Describe the clusters, and read CLUSTERS_FILE."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from resop.config.host_address import login_node_address
from resop.config.login_prompts import Prompts
from resop.config.ssh_algorithms import AlgorithmNames
from resop.config.validation import fault_sentence
from resop.config.yaml_loader import InvalidYaml, read_yaml
from resop.errors import InvalidSettings
from resop.types import ErrorMessage

LoginKind = Annotated[
    Literal["key", "held", "certificate"], ErrorMessage("must be key, held or certificate")
]
"""The kind of credential that a login creates; see `api/auth/credentials.py`."""
ClusterName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"),
    ErrorMessage(
        "must be up to 63 letters, digits, '_', '.' and '-', beginning with a letter or digit"
    ),
]
SshPort = Annotated[
    int, Field(ge=1, le=65535), ErrorMessage("must be a port number from 1 to 65535")
]

SshAddress = Annotated[
    str, ErrorMessage("must be the login node's address"), AfterValidator(login_node_address)
]
"""The login node's host name or IP address, without brackets."""

SettingName = Annotated[
    str,
    Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$"),
    ErrorMessage("must be names of operators' settings, such as LDAP_BIND_PASSWORD"),
]
SettingValue = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    ErrorMessage("must be texts or numbers, by the names of operators' settings"),
]


class Cluster(BaseModel):
    """A cluster that users log in to over SSH."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClusterName
    address: SshAddress
    ssh_port: SshPort = 22
    known_hosts: Annotated[
        str | None, ErrorMessage("must be a known_hosts file, or SHA256:… of the host keys")
    ] = None
    """A known_hosts file or fingerprints for this cluster only; the default is KNOWN_HOSTS."""
    ssh_algorithms: AlgorithmNames = ()
    """Older algorithms to accept from this cluster, beside those of SSH_ALGORITHMS."""
    login: LoginKind = "key"
    prompts: Prompts = {}
    """The answers to prompts at login that this service would not know; by regular expression."""
    secrets: tuple[SettingName, ...] = ()
    """The operators' secret settings that may be used on this cluster, if there are several."""
    settings: Mapping[SettingName, SettingValue] = {}
    """The operators' settings that have other values for this cluster than in config.env."""

    @field_validator("login", mode="before")
    @classmethod
    def _refuse_former_name(cls, login: object) -> object:
        if login == "kept":
            raise ValueError("kept is now called held")
        return login


@functools.cache  # read once: an edited file takes effect at the next start
def read_clusters(file: Path) -> dict[str, Cluster]:
    """Read a YAML list of clusters: mappings with the fields of `Cluster`.

    Raises InvalidSettings.
    """
    try:
        entries, _ = read_yaml(file)
    except InvalidYaml as fault:
        raise InvalidSettings(f"CLUSTERS_FILE: {file}: line {fault}") from None
    except OSError as fault:
        raise InvalidSettings(f"CLUSTERS_FILE: {file}: {fault.strerror}") from None
    if not isinstance(entries, list) or not entries:
        raise InvalidSettings(
            f"CLUSTERS_FILE: {file}: must be a list of clusters: '- {{name: …, address: …}}'"
        )
    try:
        clusters = [Cluster.model_validate(entry) for entry in entries]
    except ValidationError as fault:
        raise InvalidSettings(
            f"CLUSTERS_FILE: {file}: {fault_sentence(fault, Cluster, 'entry')}"
        ) from None
    if len({cluster.name for cluster in clusters}) < len(clusters):
        raise InvalidSettings(f"CLUSTERS_FILE: {file}: two clusters have the same name")
    return {cluster.name: cluster for cluster in clusters}
