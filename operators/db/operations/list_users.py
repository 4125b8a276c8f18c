"""List the users of the portal, in the order of their names."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.users import User, users
from resop import Argument, Shell, Username, operation


class Listed(TypedDict):
    """Users, and whether there are no more behind the last of them."""

    users: list[User]
    complete: bool


@operation(examples=[{}, {"search": "example.org", "enabled": True}, {"after": "ada"}])
def list_users(
    shell: Shell,
    username: Annotated[Username | None, Field(description="this user alone")] = None,
    search: Annotated[
        Argument | None,
        Field(description="text that the name, the mail address or the full name contains"),
    ] = None,
    enabled: Annotated[
        bool | None, Field(description="those who may use the portal, or those who may not")
    ] = None,
    after: Annotated[
        Argument | None, Field(description="those behind this user name: the last one shown before")
    ] = None,
    limit: Annotated[int, Field(ge=1, le=10_000, description="how many at most")] = 1000,
) -> Listed:
    """Return the users who fit all that is given, and whether these are all."""
    found = users(shell).find(
        username=username, search=search, enabled=enabled, after=after, limit=limit + 1
    )
    return Listed(users=found[:limit], complete=len(found) <= limit)
