"""Create a person in the directory, in Slurm and in the portal, or in none of them."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.operations import create_user as portal
from operators.ldap.hashes import NewPassword
from operators.ldap.operations import create_user as ldap
from operators.ldap.people import FullName, Mail, Number, User
from operators.slurm.associations import AccountName
from operators.slurm.operations import add_user as slurm
from resop import Shell, Username, operation


class Created(TypedDict):
    """The person as the directory has it, and the account that jobs are charged to."""

    user: User
    account: str


@operation(
    examples=[
        {
            "username": "ada",
            "full_name": "Ada Example",
            "mail": "ada@hpc.example",
            "password": "correct horse",
            "account": "project9",
        }
    ]
)
def create_user(
    shell: Shell,
    username: Username,
    full_name: Annotated[FullName, Field(description="as people write it")],
    mail: Annotated[Mail, Field(description="mail address")],
    password: NewPassword,
    account: Annotated[
        AccountName, Field(description="Slurm account that the jobs are charged to")
    ],
    given_name: Annotated[FullName | None, Field(description="given names")] = None,
    surname: Annotated[
        FullName | None, Field(description="the last word of the full name when not given")
    ] = None,
    uid_number: Annotated[
        Number | None, Field(description="the next above all in use when not given")
    ] = None,
) -> Created:
    """Return the person, who can log in and submit jobs from now on.

    The log says what was done. When a step fails those before it are undone: `undone` and
    `needs_repair` of the error list how.
    """
    user = ldap.create_user(
        shell,
        username=username,
        full_name=full_name,
        mail=mail,
        password=password,
        given_name=given_name,
        surname=surname,
        uid_number=uid_number,
    )
    slurm.add_user(shell, user=username, account=account)
    portal.create_user(shell, username=username, email=mail, full_name=user["full_name"])
    return Created(user=user, account=account)
