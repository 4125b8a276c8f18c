"""Jobs of Slurm: list, show, wait for, cancel and read them."""

from __future__ import annotations

import time
from typing import Any

import click

from resop_client.cli import human
from resop_client.cli.columns import Column
from resop_client.cli.command import DefaultGroup
from resop_client.cli.commands.cluster import given, slurm_cluster
from resop_client.cli.following import write_output
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.cli.running import ask, run, start

POLL_SECONDS = 2.0
"""How often the output of a job is looked at while it is followed."""
OUTPUT_CHUNK = 1 << 20
COLUMNS = (
    Column("JOB", "id"),
    Column("NAME", "name"),
    Column("STATE", "state"),
    Column("PARTITION", "partition"),
    Column("ELAPSED", "elapsed", human.duration, right=True),
    Column("LIMIT", "time_limit", human.duration, right=True),
    Column("NODES", "nodes", right=True),
    Column("WHERE / WHY", lambda row: row["node_names"] or row["reason"]),
    Column("USER", "user"),
    Column("ACCOUNT", "account"),
)
PAST_COLUMNS = (
    *COLUMNS[:4],
    Column("ELAPSED", "elapsed", human.duration, right=True),
    Column("EXIT", "exit_code", right=True),
    Column("ENDED", "ended", human.moment),
    Column("REASON", "reason"),
    Column("ACCOUNT", "account"),
)
_repeatable: dict[str, Any] = {"multiple": True, "metavar": "NAME"}


@click.group(cls=DefaultGroup)
def jobs() -> None:
    """List jobs (the default), show one, wait for it, cancel it, or read its output."""


@jobs.command("list")
@click.option("-u", "--user", "users", **_repeatable, help="Jobs of this user; repeatable.")
@click.option("-a", "--all", "all_users", is_flag=True, help="Jobs of all users.")
@click.option("--state", "states", **_repeatable, help="Only in this state; repeatable.")
@click.option("--partition", "partitions", **_repeatable, help="Only in it; repeatable.")
@slurm_cluster
@pass_invocation
def list_(
    invocation: Invocation,
    users: tuple[str, ...],
    all_users: bool,
    states: tuple[str, ...],
    partitions: tuple[str, ...],
    cluster: str | None,
) -> None:
    """List the jobs that wait or run: yours, unless --all or --user says otherwise."""
    if not users and not all_users and invocation.hpc.username:
        users = (invocation.hpc.username,)
    states = tuple(each.upper() for each in states)
    options = given(users=users, states=states, partitions=partitions, cluster=cluster)
    invocation.show(ask(invocation, "/slurm/opn/jobs", options), COLUMNS)


@jobs.command()
@click.argument("job")
@click.option("--steps", is_flag=True, help="With its steps and their memory.")
@click.option("--script", "batch_script", is_flag=True, help="With its batch script.")
@click.option("--efficiency", is_flag=True, help="With its use of CPU, memory and GPUs.")
@slurm_cluster
@pass_invocation
def show(
    invocation: Invocation,
    job: str,
    steps: bool,
    batch_script: bool,
    efficiency: bool,
    cluster: str | None,
) -> None:
    """Show a job: state, times, resources, files; why it waits, or how it ended."""
    options = given(
        id=job, steps=steps, batch_script=batch_script, efficiency=efficiency, cluster=cluster
    )
    found = ask(invocation, "/slurm/opn/job", options)
    if invocation.wants_table:
        found = {**found, "elapsed": human.duration(found["elapsed"])}
        found["time_limit"] = human.duration(found["time_limit"])
    invocation.show(found)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB...")
@click.option("--timeout", type=float, default=86_400, help="Stop after this number of seconds.")
@slurm_cluster
@pass_invocation
def wait(
    invocation: Invocation, job_ids: tuple[str, ...], timeout: float, cluster: str | None
) -> None:
    """Wait until jobs have ended. The exit code is 0 if all have succeeded, else theirs."""
    code = wait_for(invocation, job_ids, timeout=timeout, cluster=cluster)
    click.get_current_context().exit(code)


def wait_for(
    invocation: Invocation,
    job_ids: tuple[str, ...],
    *,
    timeout: float = 86_400,
    cluster: str | None = None,
    show: bool = True,
) -> int:
    """Wait for jobs with a progress bar, show how they ended, and return the exit code.

    Ctrl-C ends the wait; the jobs continue.
    """
    options = {"ids": list(job_ids), "timeout": timeout, **given(cluster=cluster)}
    task = start(invocation, "/slurm/opn/wait", options)
    label = f"job {job_ids[0]}" if len(job_ids) == 1 else f"{len(job_ids)} jobs"
    try:
        with invocation.bar(label) as bar:
            for event in task.events():
                if event.kind == "progress":
                    bar(event.data.done, event.data.total)
        outcome = task.refresh().result()
    except KeyboardInterrupt:
        task.cancel(0)
        click.echo(
            f"\nresop: no longer waiting; {label} continues: resop jobs cancel {' '.join(job_ids)}",
            err=True,
        )
        raise SystemExit(130) from None
    if show:
        columns = (
            Column("JOB", "id"),
            Column("STATE", "state"),
            Column("EXIT", "exit_code", right=True),
            Column("REASON", "reason"),
            Column("STATES", "states"),
        )
        invocation.show(outcome["jobs"] if invocation.wants_table else outcome, columns)
    return exit_code_of_jobs(outcome)


def exit_code_of_jobs(outcome: dict[str, Any]) -> int:
    """Return 0 if all jobs have succeeded, 10 if some have not ended, else the highest code."""
    if outcome["succeeded"]:
        return 0
    if not outcome["ended"]:
        return 10
    return max([each["exit_code"] or 0 for each in outcome["jobs"]] + [1])


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB...")
@click.option("--signal", metavar="NAME", help="Send this signal instead of ending them.")
@slurm_cluster
@pass_invocation
def cancel(
    invocation: Invocation, job_ids: tuple[str, ...], signal: str | None, cluster: str | None
) -> None:
    """Cancel jobs, arrays or array tasks."""
    options = {"jobs": list(job_ids), **given(signal=signal, cluster=cluster)}
    found = run(invocation, "/slurm/opn/cancel", options)
    columns = (
        Column("JOB", "id"),
        Column("RESULT", "result"),
        Column("STATES", "states"),
        Column("MESSAGE", "message"),
    )
    invocation.show(found, columns)


@jobs.command()
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Continue as it grows, until the job has ended.")
@click.option("-e", "--error", is_flag=True, help="Standard error, not standard output.")
@click.option("-n", "--lines", type=int, help="Only this number of lines at its end.")
@slurm_cluster
@pass_invocation
def output(
    invocation: Invocation,
    job: str,
    follow: bool,
    error: bool,
    lines: int | None,
    cluster: str | None,
) -> None:
    """Print the output of a job. Ctrl-C ends the reading; the job continues."""
    stream = "stderr" if error else "stdout"
    options = {"id": job, "stream": stream, **given(tail=lines, cluster=cluster)}
    follow_output(invocation, options, follow=follow)


def follow_output(invocation: Invocation, options: dict[str, Any], *, follow: bool) -> None:
    """Print the output of a job from its beginning; with `follow`, until the job has ended."""
    from resop_client.errors import PathFailed

    while True:
        try:
            chunk = invocation.hpc.run("/slurm/opn/output", options=options)
        except PathFailed as fault:  # before it has started
            if not follow or fault.reason != "missing":
                raise
            time.sleep(POLL_SECONDS)
            continue
        if not invocation.wants_table and not follow:
            invocation.show(chunk)
            return
        write_output(chunk["text"], "stdout")
        options = {name: each for name, each in options.items() if name != "tail"}
        options["offset"] = chunk["next_offset"]
        if chunk["next_offset"] < chunk["size"]:
            continue
        if chunk["ended"] or not follow:
            return
        time.sleep(POLL_SECONDS)


@jobs.command()
@click.option("--start", metavar="TIME", help="From: 2026-11-01, now-7days.")
@click.option("--end", metavar="TIME", help="Until then.")
@click.option("-u", "--user", "users", **_repeatable, help="Jobs of this user; repeatable.")
@click.option("-a", "--all", "all_users", is_flag=True, help="Jobs of all users.")
@click.option("--state", "states", **_repeatable, help="Only that ended so; repeatable.")
@click.option("-n", "--limit", type=int, help="Maximum number.")
@slurm_cluster
@pass_invocation
def history(
    invocation: Invocation,
    start: str | None,
    end: str | None,
    users: tuple[str, ...],
    all_users: bool,
    states: tuple[str, ...],
    limit: int | None,
    cluster: str | None,
) -> None:
    """List jobs of the past, from the accounting."""
    states = tuple(each.upper() for each in states)
    options = given(
        start=start,
        end=end,
        users=users,
        all_users=all_users,
        states=states,
        limit=limit,
        cluster=cluster,
    )
    found = ask(invocation, "/slurm/opn/history", options)
    invocation.show(found["jobs"] if invocation.wants_table else found, PAST_COLUMNS)
    if found["next"] is not None:
        invocation.note(f"({len(found['jobs'])} of {found['total']}; -n LIMIT shows more)")
