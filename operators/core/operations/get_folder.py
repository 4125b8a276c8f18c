"""Read a folder of the cluster with all that is in it, as a tar archive in base64."""

import hashlib
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.core.content import encoded
from resop import FILE_LIMIT, PathFailed, RemotePath, Shell, operation

# Cut at once when it is too long, rather than read to the end: a folder may hold terabytes.
# The exit status is tar's own, which a pipe would hide. The NUL parts the archive from what a
# start-up file of the user's shell, such as .bashrc, may have printed before.
SOME_OF_IT = """printf '\\0'
exec 4>&1
status=$({ { tar --create --sort=name --file=- --directory="$1" . 3>&-; echo $? >&3; } |
    head --bytes="$2" >&4; } 3>&1)
exit "$status"
"""
SOME_CHANGED = 1
"""tar(1): files were written to while they were read."""


class Answer(TypedDict):
    """The folder; its members are named from it on: `./a`. `size` is the archive's, in bytes."""

    content: str
    size: int
    sha256: str


@operation(examples=[{"path": "run7/plots"}])
def get_folder(
    shell: Shell,
    path: RemotePath,
    limit: Annotated[
        int, Field(ge=1, le=FILE_LIMIT, description="an archive of more bytes is refused")
    ] = FILE_LIMIT,
) -> Answer:
    """Return the archive. Symbolic links stay what they are.

    What was written to meanwhile is named in the log.

    Fails with PathFailed, whose `reason` is missing, denied (also for a part of it), not_folder,
    too_large, …
    """
    argv = ("/bin/sh", "-c", SOME_OF_IT, "get_folder", path, limit + 1)
    packed = shell.run(*argv, about=path, raw=True, max_output=limit + FILE_LIMIT, check=False)
    archive = packed.raw.partition(b"\0")[2]
    if len(archive) > limit:
        raise PathFailed(path, "too_large", f"has more than {limit} bytes as tar", limit=limit)
    if packed.exit_code == SOME_CHANGED:
        shell.log(packed.stderr.strip())
    elif packed.exit_code != 0:
        raise packed.path_failure(path)
    return Answer(
        content=encoded(archive, "base64", path),
        size=len(archive),
        sha256=hashlib.sha256(archive).hexdigest(),
    )
