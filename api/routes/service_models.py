"""The JSON of the endpoints that need no token, as the OpenAPI document describes it."""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict


class Limits(TypedDict):
    """The limits of requests, in bytes, seconds and numbers."""

    connections: int
    connections_per_address: int
    keep_alive_seconds: float
    url_bytes: int
    header_bytes: int
    header_count: int
    header_seconds: float
    pipelined_requests: int
    requests_at_work_per_address: int
    streams_per_user: int
    waits_per_user: int
    transfers_per_user: int
    streams_in_all: int
    waits_in_all: int
    transfers_in_all: int
    body_seconds: float
    body_bytes_per_second: int
    body_bytes: int
    body_depth: int
    options: int
    object_members: int
    body_values: int
    batch_tasks: int
    argument_bytes: int
    command_bytes: int
    secret_bytes: int
    output_bytes: int
    answer_file_bytes: int
    operation_file_bytes: int
    queued_tasks: int
    login_failures: int
    login_failures_seconds: float
    user_login_failures: int
    user_login_failures_seconds: float
    address_login_failures: int
    address_login_failures_seconds: float
    cluster_login_failures: int
    cluster_login_failures_seconds: float
    service_login_failures: int
    service_login_failures_seconds: float
    logins_per_user: int
    wait_seconds: float
    task_seconds: float
    transfer_stall_seconds: float
    upload_kept_seconds: float
    token_seconds: float
    login_seconds: float
    api_keys: int
    api_key_seconds: float


class OpenIdLogin(TypedDict):
    """The values that a client needs to get a token from the site's issuer."""

    issuer: str
    client_id: str | None
    login: str


class Welcome(TypedDict):
    """The service, its clusters and limits, and the first steps."""

    service: str
    version: str
    clusters: list[str]
    login: str
    then: str
    documentation: str
    limits: Limits
    openid: NotRequired[OpenIdLogin]


class Liveness(TypedDict):
    """The answer of a process that runs."""

    live: bool


class Readiness(TypedDict):
    """The readiness of a process: one entry for each part."""

    ready: bool
    database: NotRequired[bool]
    redis: NotRequired[bool]
    subscription: NotRequired[bool]
    reasons: NotRequired[
        Annotated[dict[str, str], Field(description="why a part fails, for each that does")]
    ]
    audit_entries_lost: NotRequired[int]
    clock_skew_seconds: NotRequired[float]


class OperatorSummary(TypedDict):
    """An operator and the names of its actions."""

    name: str
    description: str
    commands: list[str]
    operations: list[str]


class OperatorList(TypedDict):
    """All operators."""

    operators: list[OperatorSummary]
