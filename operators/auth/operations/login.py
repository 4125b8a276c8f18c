"""Log in with a cluster account over SSH, and get a token."""

from typing import Annotated

from pydantic import Field

from resop import Argument, Gate, LoginAnswer, Secret, operation


@operation(
    examples=[
        {"username": "alice", "password": "alice-pw"},
        {"username": "tfa", "password": "tfa-pw", "otp": "123456"},
    ]
)
async def login(
    gate: Gate,
    username: Annotated[
        Argument, Field(min_length=1, max_length=64, description="user name on the cluster")
    ],
    password: Annotated[Secret, Field(description="password on the cluster")],
    otp: Annotated[
        Secret | None, Field(description="one-time code, if the cluster asks for one")
    ] = None,
    cluster: Annotated[
        str | None, Field(description="name of the cluster (default: the first one)")
    ] = None,
) -> LoginAnswer:
    """Return the token, its user and cluster, and when it expires."""
    return await gate.log_in(username, password, otp, cluster)
