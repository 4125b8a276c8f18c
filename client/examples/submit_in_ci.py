"""A job of CI: submit a batch script, wait, print its output, and end with its exit code.

RESOP_URL=https://hpc.example RESOP_TOKEN=<API key> python submit_in_ci.py job.sh partition=debug
"""

import sys

from resop_client import Resop, ResopError
from resop_client.sweep_options import read_script


def main(script: str, *options: str) -> int:
    """Return the exit code of the job."""
    with Resop() as hpc:
        named = dict(each.split("=", 1) for each in options)
        job = hpc.slurm.submit(script=read_script(script), output="ci-%j.out", **named).job
        print(f"job {job} is submitted", flush=True)
        outcome = hpc.slurm.wait(id=str(job), timeout=3600)
        if not outcome.ended:
            hpc.slurm.cancel(jobs=[str(job)])
            print(f"cancelled: {outcome.reason or outcome.state}", file=sys.stderr)
            return 1
        print(hpc.files.read_text(f"~/ci-{job}.out"), end="")
        hpc.files.remove(f"~/ci-{job}.out")
        print(f"job {job}: {outcome.state}")
        return 0 if outcome.succeeded else outcome.exit_code or 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except ResopError as error:
        sys.exit(str(error))
