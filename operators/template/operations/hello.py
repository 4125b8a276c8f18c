"""Greet several people, each in a file of a new folder: shows every tool for authors once."""

# The text above becomes the description of POST /template/opn/hello. The file is named like the
# operation. An author imports `resop`, pydantic's Field, and anything from Python's library.
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from resop import ErrorMessage, Secret, Shell, Username, operation


# The answer's type becomes its JSON schema: a number, a list, or a TypedDict as here.
class Greetings(TypedDict):
    """The folder of the greetings, their texts, and the number of users logged in."""

    folder: str
    greetings: list[str]
    users: int


# The parameters are the request's options: type, default, limits and description in one place.
# An option without a default is required. Invalid options are refused before anything runs; an
# ErrorMessage tells the caller what a pattern allows. Examples appear in the API's description;
# they are checked when the file is loaded.
@operation(timeout=60, examples=[{"names": ["ada", "grace"], "greeting": "Good morning"}])
def hello(
    shell: Shell,
    names: Annotated[list[Username], Field(min_length=1, description="users to greet")],
    greeting: Annotated[
        str,
        Field(pattern="^[A-Za-z ]+$", description="words before the name"),
        ErrorMessage("must be letters and spaces"),
    ] = "Hello",
    password: Annotated[
        Secret | None, Field(description="password, which is never displayed")
    ] = None,
    signed: Annotated[bool, Field(description="sign with the setting TEMPLATE_NAME")] = False,
) -> Greetings:
    """Return the greetings and their folder."""
    # A setting from config.env. The operation fails with an explanation if it is not set.
    signature = f" from {shell.setting('TEMPLATE_NAME')}" if signed else ""

    # One program and its arguments, not a command line: no quoting, whatever they contain.
    # A step with a non-zero exit code ends the operation (unless check=False).
    folder = shell.run("mktemp", "--directory").stdout.strip()

    # How to undo the step if the operation fails later. The last one registered is undone first.
    shell.on_failure("rm", "-r", folder)

    # A line for the caller, who sees it immediately.
    shell.log(f"writing the greetings to {folder}")

    def greet(name: str) -> str:
        text = f"{greeting}, {name}{signature}!"
        shell.run("tee", f"{folder}/{name}", input=text, timeout=10)
        return text

    # Independent steps, up to five at a time; the answers are in the order of names.
    greetings = shell.map(greet, names)
    shell.progress(len(names), len(names) + 1)

    # Send a secret on standard input, since every user of a login node can list command lines. It
    # is displayed as ********, and resop refuses it as an argument.
    if password is not None:
        size = shell.run("wc", "-c", input=password).stdout.strip()
        shell.log(f"the password has {size} bytes")

    # A real shell command line, for pipes and wildcards. Never build one from options.
    count = shell.script("who | wc -l").stdout.strip()
    if not count.isdecimal():
        # The caller gets this message; the undo steps registered above run.
        shell.fail(f"who | wc -l answered {count!r} instead of a number")

    shell.progress(len(names) + 1, len(names) + 1)
    return Greetings(folder=folder, greetings=greetings, users=int(count))
