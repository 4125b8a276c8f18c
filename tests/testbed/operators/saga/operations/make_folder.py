"""Give a new user a folder: a site's own step of the creation."""

import importlib

from resop import Shell, Username, operation

importlib.import_module("operators.saga.killed")  # lets the worker wait where it will be killed


@operation
def make_folder(shell: Shell, username: Username, uid_number: int) -> str:
    """Return the folder."""
    folder = f"/home/hpcadmin/scratch/{username}"
    with shell.undone_by("rmdir", folder, what=f"remove {folder}", absent=["No such file"]):
        shell.run("mkdir", "-p", folder)
    shell.run("test", "-d", folder)
    shell.log(f"made {folder} for {uid_number}")
    return folder
