"""Create a temporary file with a unique name."""

from typing import Annotated

from pydantic import Field

from resop import FileMode, RemotePath, Shell, operation


@operation(examples=[{}, {"content": "&input n=4 /\n", "folder": "/scratch/alice", "mode": "0640"}])
def temp_file(
    shell: Shell,
    content: Annotated[str, Field(description="content of the file, as text")] = "",
    folder: Annotated[
        RemotePath | None, Field(description="folder of the file (default: $TMPDIR, or /tmp)")
    ] = None,
    mode: Annotated[FileMode, Field(description="permissions in octal")] = "0600",
) -> str:
    """Return the file's path. The file is not removed automatically."""
    location = "--tmpdir" if folder is None else f"--tmpdir={folder}"
    result = shell.run(
        "mktemp", location, "resop.XXXXXXXXXX", path=folder or "the temporary folder"
    )
    path = result.stdout.removesuffix("\n")
    shell.on_failure("rm", "--force", "--", path)
    shell.put(content, path, mode=int(mode, 8))
    return path
