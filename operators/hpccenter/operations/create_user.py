"""Create a user in the directory, in Slurm and in the portal, or in none of them."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.operations import create_user as portal
from operators.ldap.hashes import NewPassword
from operators.ldap.operations import create_user as ldap
from operators.ldap.people import DirectoryFullName, DirectoryUser, IdNumber, MailAddress
from operators.slurm.associations import AccountName
from operators.slurm.operations import add_user as slurm
from resop import Shell, Username, operation


class NewUser(TypedDict):
    """The new user in the directory, and the Slurm account that jobs are charged to."""

    user: DirectoryUser
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
    full_name: Annotated[DirectoryFullName, Field(description="full name")],
    mail: Annotated[MailAddress, Field(description="mail address")],
    password: NewPassword,
    account: Annotated[
        AccountName, Field(description="Slurm account to charge the user's jobs to")
    ],
    given_name: Annotated[DirectoryFullName | None, Field(description="given names")] = None,
    surname: Annotated[
        DirectoryFullName | None,
        Field(description="surname (default: the last word of the full name)"),
    ] = None,
    uid_number: Annotated[
        IdNumber | None, Field(description="user id (default: the next after the highest in use)")
    ] = None,
) -> NewUser:
    """Return the new user, who can log in and submit jobs immediately.

    A block of an earlier user of that name is lifted.

    The log lists what was done. If a step fails, the steps before it are undone: see `undone` and
    `needs_repair` of the error.
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
    portal.create_user(shell, username=username, mail=mail, full_name=user["full_name"])
    shell.allow_logins(username)
    return NewUser(user=user, account=account)
