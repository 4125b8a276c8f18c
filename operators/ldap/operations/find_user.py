"""Find users in the directory by user name, mail address or full name."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.ldap import client
from operators.ldap.ldif import match_filter
from operators.ldap.people import DirectoryUser, people_base, user_attributes, user_from_entry
from resop import ErrorMessage, Shell, operation

SearchPattern = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=256),
    ErrorMessage("must be a text of 1 to 256 characters, in which * matches any text"),
]


class DirectoryUserPage(TypedDict):
    """The matching users, ordered by user name; `complete` if there are no more."""

    users: list[DirectoryUser]
    complete: bool


@operation(dry_run=True, examples=[{"username": "ada"}, {"full_name": "*Example*", "limit": 10}])
def find_user(
    shell: Shell,
    username: Annotated[
        SearchPattern | None, Field(description="user name; * matches any text")
    ] = None,
    mail: Annotated[
        SearchPattern | None, Field(description="mail address; * matches any text")
    ] = None,
    full_name: Annotated[
        SearchPattern | None, Field(description="full name; * matches any text")
    ] = None,
    limit: Annotated[int, Field(ge=1, le=10_000, description="maximum number of users")] = 100,
) -> DirectoryUserPage:
    """Return the users that match all filters; without filters, all users."""
    filters = {"uid": username, "mail": mail, "cn": full_name}
    tests = [match_filter(name, value) for name, value in filters.items() if value is not None]
    query = f"(&(objectClass=posixAccount){''.join(tests)})"
    attributes = user_attributes(shell)
    entries, complete = client.search_limited(shell, people_base(shell), query, limit, *attributes)
    found = [user_from_entry(shell, entry) for entry in entries]
    return DirectoryUserPage(
        users=sorted(found, key=lambda user: user["username"]), complete=complete
    )
