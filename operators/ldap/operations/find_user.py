"""Find people in the directory by user name, mail address or name."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.ldap import client
from operators.ldap.ldif import matching
from operators.ldap.people import USER_ATTRIBUTES, User, people, user_of
from resop import Shell, operation

Pattern = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=256)]


class Found(TypedDict):
    """The people found, by user name, and whether there are no more."""

    users: list[User]
    complete: bool


@operation(examples=[{"username": "ada"}, {"full_name": "*Example*", "limit": 10}])
def find_user(
    shell: Shell,
    username: Annotated[Pattern | None, Field(description="* stands for any text")] = None,
    mail: Annotated[Pattern | None, Field(description="likewise")] = None,
    full_name: Annotated[Pattern | None, Field(description="likewise")] = None,
    limit: Annotated[int, Field(ge=1, le=10_000, description="people at most")] = 100,
) -> Found:
    """Return those who match all that is given; everybody when nothing is."""
    wanted = {"uid": username, "mail": mail, "cn": full_name}
    tests = [matching(name, value) for name, value in wanted.items() if value is not None]
    query = f"(&(objectClass=posixAccount){''.join(tests)})"
    entries, complete = client.search_some(shell, people(shell), query, limit, *USER_ATTRIBUTES)
    users = sorted(map(user_of, entries), key=lambda user: user["username"])
    return Found(users=users, complete=complete)
