"""Show the environment of a step: variables, shell, home, host, and whether modules exist."""

from typing_extensions import TypedDict

from resop import Shell, operation


class StepEnvironment(TypedDict):
    """A step's environment; `modules`: a login shell has `module` (Lmod or Tcl modules)."""

    variables: dict[str, str]
    shell: str
    home: str
    hostname: str
    modules: bool


@operation(timeout=120, examples=[{}])
def environment(shell: Shell) -> StepEnvironment:
    """Return the environment of a step."""
    entries = shell.run("env", "--null").stdout.removesuffix("\0").split("\0")
    pairs = (each.partition("=") for each in entries)
    # A start-up file such as .bashrc may print lines, which precede the first name.
    variables = {name.rpartition("\n")[2]: value for name, _, value in pairs}
    hostname = shell.run("uname", "--nodename").lines[-1]
    modules = shell.run("bash", "--login", "-c", "command -v module", check=False)
    return StepEnvironment(  # nosec B604 # a field's name: nothing is started
        variables=variables,
        shell=variables.get("SHELL", ""),
        home=variables.get("HOME", ""),
        hostname=hostname,
        modules=modules.exit_code == 0,
    )
