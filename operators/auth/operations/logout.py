"""Revoke the token of this request, and remove its SSH key from the cluster."""

from typing import Annotated

from pydantic import Field

from resop import Gate, LogoutAnswer, operation


@operation(examples=[{}, {"keep_running": False}])
async def logout(
    gate: Gate,
    keep_running: Annotated[
        bool,
        Field(description="let the tasks of this login continue, instead of cancelling them"),
    ] = True,
) -> LogoutAnswer:
    """Return the user, and whether the key was removed from the cluster.

    To end every login of yours with everything that runs on them: DELETE /logins.
    """
    return await gate.log_out(keep_running)
