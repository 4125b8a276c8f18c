"""List the users of the portal, ordered by user name."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.users import PortalUser, user_table
from resop import Argument, Shell, Username, operation


class PortalUserPage(TypedDict):
    """A page of users; `complete` if it reaches the last one."""

    users: list[PortalUser]
    complete: bool


@operation(
    dry_run=True, examples=[{}, {"search": "example.org", "enabled": True}, {"after": "ada"}]
)
def list_users(
    shell: Shell,
    username: Annotated[Username | None, Field(description="only this user")] = None,
    search: Annotated[
        Argument | None,
        Field(
            description="only users whose user name, mail address or full name contains this text"
        ),
    ] = None,
    enabled: Annotated[
        bool | None,
        Field(description="only users who may (true) or may not (false) use the portal"),
    ] = None,
    after: Annotated[
        Argument | None,
        Field(description="continue after this user name, the last one of the previous page"),
    ] = None,
    limit: Annotated[int, Field(ge=1, le=10_000, description="maximum number of users")] = 1000,
) -> PortalUserPage:
    """Return the users that match all filters."""
    found = user_table(shell).find(
        username=username, search=search, enabled=enabled, after=after, limit=limit + 1
    )
    return PortalUserPage(users=found[:limit], complete=len(found) <= limit)
