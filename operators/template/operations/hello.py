"""Greet several people, each in a file of a fresh folder: every tool of an author, once."""

# This text above becomes the description of POST /template/opn/hello. The file's name is the
# operation's name. An author imports `resop`, pydantic's Field, and whatever else Python offers.
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict  # Python 3.12's; in 3.11 pydantic needs this one

from resop import Secret, Shell, Username, operation


# What the caller gets is described like any Python type: a number, a list, a TypedDict as here.
class Answer(TypedDict):
    """Where the greetings are, what they say, and how many people are logged in."""

    folder: str
    greetings: list[str]
    users: int


# The parameters are the request's options: type, default, limits and description in one place.
# One without a default is required. Wrong options are refused before anything runs.
# Examples are shown with the description; each is checked when the file is loaded.
@operation(timeout=60, examples=[{"names": ["ada", "grace"], "greeting": "Good morning"}])
def hello(
    shell: Shell,
    names: Annotated[list[Username], Field(min_length=1, description="whom to greet")],
    greeting: Annotated[str, Field(pattern="^[A-Za-z ]+$", description="how")] = "Hello",
    password: Annotated[Secret | None, Field(description="one that nobody else sees")] = None,
    signed: Annotated[bool, Field(description="sign with the setting TEMPLATE_NAME")] = False,
) -> Answer:
    """Return the greetings and the folder they are in."""
    # A setting of config.env; the operation fails, and says why, where the site has not set it.
    signature = f" from {shell.setting('TEMPLATE_NAME')}" if signed else ""

    # One program and its arguments, never a line of text: no quoting, whatever they contain.
    # A step that ends with another number than 0 ends the operation (unless check=False).
    folder = shell.run("mktemp", "--directory").stdout.strip()

    # How to undo it, should the operation fail further down. The last registered is undone first.
    shell.on_failure("rm", "-r", folder)

    # A line for the caller, now: whoever waits sees it at once.
    shell.log(f"the greetings go to {folder}")

    def greet(name: str) -> str:
        text = f"{greeting}, {name}{signature}!"
        shell.run("tee", f"{folder}/{name}", input=text, timeout=10)
        return text

    # Steps that do not depend on each other, up to five at once; answers in the order of names.
    greetings = shell.map(greet, names)
    shell.progress(len(names), len(names) + 1)

    # A secret goes by standard input, as every user of a login node can list command lines. It
    # reads ******** wherever it is shown, and resop refuses it among the arguments.
    if password is not None:
        size = shell.run("wc", "-c", input=password).stdout.strip()
        shell.log(f"the password has {size} bytes")

    # Real shell, where it is needed: pipes, wildcards. Never build such a line from options.
    counted = shell.script("who | wc -l").stdout.strip()
    if not counted.isdecimal():
        # The caller reads this text; what was registered above is undone.
        shell.fail(f"who | wc -l answered {counted!r} instead of a number")

    shell.progress(len(names) + 1, len(names) + 1)
    return Answer(folder=folder, greetings=greetings, users=int(counted))
