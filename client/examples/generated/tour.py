"""Use the client of openapi-python-client: log in, look, submit, sweep, create a user."""

from __future__ import annotations

import json
import os
import sys
from typing import TypeVar

from httpx import Timeout
from resop_api import AuthenticatedClient, Client
from resop_api.api.auth import run_auth_operation_login
from resop_api.api.hpccenter import run_hpccenter_operation_create_user
from resop_api.api.slurm import (
    run_slurm_operation_nodes,
    run_slurm_operation_submit,
    run_slurm_operation_sweep,
)
from resop_api.models import (
    AuthOperationLogin,
    AuthOperationLoginResult,
    Failure,
    HpccenterOperationCreateUser,
    HpccenterOperationCreateUserResult,
    NumberRange,
    SlurmOperationNodesResult,
    SlurmOperationSubmit,
    SlurmOperationSubmitResult,
    SlurmOperationSweep,
    SlurmOperationSweepParameters,
    SlurmOperationSweepResult,
)

Result = TypeVar("Result")


def of_type(kind: type[Result], answer: object) -> Result:
    """Return an answer of this type; anything else ends the program."""
    if not isinstance(answer, kind):
        sys.exit(str(answer))
    return answer


def log_in(url: str, username: str, password: str) -> AuthenticatedClient:
    """Return a client that has a token."""
    body = AuthOperationLogin(username=username, password=password)
    answer = run_auth_operation_login.sync(client=Client(url), body=body)
    output = of_type(AuthOperationLoginResult, answer).output
    assert output
    return AuthenticatedClient(url, output.token, timeout=Timeout(60))


def main(url: str) -> None:
    """Print what was done as JSON."""
    client = log_in(url, os.environ["USERNAME"], os.environ["PASSWORD"])
    nodes = of_type(SlurmOperationNodesResult, run_slurm_operation_nodes.sync(client=client)).output
    assert isinstance(nodes, list) and all(node.name and node.state for node in nodes)

    job = of_type(
        SlurmOperationSubmitResult,
        run_slurm_operation_submit.sync(
            client=client,
            body=SlurmOperationSubmit(script="#!/bin/sh\ntrue\n", time_limit=5),
            tag=["generated"],
        ),
    ).output
    refused = of_type(
        Failure,
        run_slurm_operation_submit.sync(
            client=client, body=SlurmOperationSubmit(script="#!/bin/sh\n", ntasks=-1)
        ),
    )

    parameters = SlurmOperationSweepParameters()
    parameters["T"] = [0.5, 1.5]
    parameters["SEED"] = NumberRange(start=1, stop=2)
    sweep = of_type(
        SlurmOperationSweepResult,
        run_slurm_operation_sweep.sync(
            client=client,
            body=SlurmOperationSweep(script="#!/bin/sh\ntrue\n", parameters=parameters),
        ),
    ).output

    admin = log_in(url, os.environ["ADMIN"], os.environ["ADMIN_PASSWORD"])
    name = os.environ["NEW_USER"]
    created = of_type(
        HpccenterOperationCreateUserResult,
        run_hpccenter_operation_create_user.sync(
            client=admin,
            body=HpccenterOperationCreateUser(
                username=name,
                full_name="Gene Rated",
                mail=f"{name}@hpc.example",
                account="project1",
                generate_password=True,
            ),
        ),
    ).output
    assert job and sweep and created and created.user
    done = {
        "nodes": len(nodes),
        "job": job.job,
        "refused": refused.error.type_,
        "sweep": sweep.job,
        "runs": sweep.runs,
        "created": created.user.username,
    }
    print(json.dumps(done))


if __name__ == "__main__":
    main(sys.argv[1])
