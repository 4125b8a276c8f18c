"""Run a shell command line that reads a secret and may print it, fail or take long."""

from resop import Argument, Secret, Shell, operation


@operation
def whisper(shell: Shell, line: Argument, secret: Secret) -> str:
    shell.log(f"the secret is {secret.get_secret_value()}")
    return shell.script(line, input=secret).stdout
