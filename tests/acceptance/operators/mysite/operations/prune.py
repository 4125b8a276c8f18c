"""Remove the files of a folder one by one."""

from resop import RemotePath, Secret, Shell, operation


@operation(dry_run=True)
def prune(
    shell: Shell,
    folder: RemotePath,
    password: Secret | None = None,
    seconds: float = 0,
    limit: int = 9,
) -> list[str]:
    shell.run("sleep", seconds, reads=True)
    names = shell.run("ls", folder, path=folder, reads=True).lines
    for name in names:
        with shell.undone_by("touch", f"{folder}/{name}"):
            shell.run("rm", f"{folder}/{name}", input=password, summary=f"remove {name}")
    if len(names) > limit:
        shell.fail(f"{folder} has more than {limit} files")
    shell.log(f"removed {len(names)} files")
    return names
