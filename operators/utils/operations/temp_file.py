"""Make a file with a name that nobody else has, and write to it."""

from typing import Annotated

from pydantic import Field

from resop import FileMode, RemotePath, Shell, operation


@operation(examples=[{}, {"content": "&input n=4 /\n", "folder": "/scratch/alice", "mode": "0640"}])
def temp_file(
    shell: Shell,
    content: Annotated[str, Field(description="what it shall hold, as text")] = "",
    folder: Annotated[
        RemotePath | None, Field(description="where it shall stand; $TMPDIR or /tmp if not given")
    ] = None,
    mode: Annotated[FileMode, Field(description="permissions in octal")] = "0600",
) -> str:
    """Return its path. It stays until somebody removes it."""
    where = "--tmpdir" if folder is None else f"--tmpdir={folder}"
    made = shell.run("mktemp", where, "resop.XXXXXXXXXX", path=folder or "the temporary folder")
    path = made.stdout.removesuffix("\n")
    shell.on_failure("rm", "--force", "--", path)
    shell.put(content, path, mode=int(mode, 8))
    return path
