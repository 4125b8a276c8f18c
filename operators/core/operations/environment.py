"""What a step finds: environment variables, shell, home, host, and whether there are modules."""

from typing_extensions import TypedDict

from resop import Shell, operation


class Answer(TypedDict):
    """What a step finds; `modules`: a login shell has the command `module` (Lmod, Tcl modules)."""

    variables: dict[str, str]
    shell: str
    home: str
    hostname: str
    modules: bool


@operation(timeout=120, examples=[{}])
def environment(shell: Shell) -> Answer:
    """Return what a step finds."""
    printed = shell.run("env", "--null").stdout.removesuffix("\0").split("\0")
    pairs = (each.partition("=") for each in printed)
    # What a start-up file such as .bashrc prints stands before the first name, on lines of its own.
    variables = {name.rpartition("\n")[2]: value for name, _, value in pairs}
    hostname = shell.run("uname", "--nodename").lines[-1]
    modules = shell.run("bash", "--login", "-c", "command -v module", check=False)
    return Answer(  # nosec B604 # a field's name: nothing is started
        variables=variables,
        shell=variables.get("SHELL", ""),
        home=variables.get("HOME", ""),
        hostname=hostname,
        modules=modules.exit_code == 0,
    )
