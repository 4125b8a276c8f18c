"""Run a line of shell that reads a secret; it may print it, fail, or take its time."""

from resop import Argument, Secret, Shell, operation


@operation
def whisper(shell: Shell, line: Argument, secret: Secret) -> str:
    shell.log(f"the secret is {secret.get_secret_value()}")
    return shell.script(line, input=secret).stdout
