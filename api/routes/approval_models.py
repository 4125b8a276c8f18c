"""The JSON of requests for approval, as the OpenAPI document describes it."""

from datetime import datetime
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from resop.storage.models import ApprovalState


class Approval(TypedDict):
    """A request for the approval of a second person, and the decision."""

    approval: Annotated[str, Field(description="the id of the request")]
    state: ApprovalState
    task: str | None
    batch: str | None
    action: Annotated[str, Field(description="`operator:name`")]
    requested_by: Annotated[str, Field(description="`user@cluster`")]
    rule: Annotated[str, Field(description="the rule of the policy that requires approval")]
    digest: Annotated[str, Field(description="of all that would run; sent with an approval")]
    created_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None


class DecidedApproval(Approval):
    """The answer to a decision."""

    success: bool


class ApprovalPage(TypedDict):
    """A page of the requests that wait for the user."""

    approvals: list[Approval]
    next: Annotated[str | None, Field(description="the `cursor` of the next page")]


class PlannedTask(TypedDict):
    """A task that would run, as a dry run shows it, secrets masked."""

    number: NotRequired[Annotated[int, Field(description="the number of a batch's item")]]
    item: NotRequired[dict[str, Any] | None]
    command: NotRequired[str]
    options: dict[str, Any]


class ApprovalDetails(Approval):
    """A request for approval with what would run."""

    may_decide: bool
    outdated: Annotated[bool, Field(description="true if the actions have changed since")]
    items: list[PlannedTask]
    next: Annotated[int | None, Field(description="the `cursor` of the next items of a batch")]
