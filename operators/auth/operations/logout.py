"""End the token that this request shows, and take its key off the cluster."""

from typing import Any

from resop import Gate, operation


@operation(examples=[{}])
async def logout(gate: Gate) -> dict[str, Any]:
    """Return whose login has ended, and whether its key is gone from the cluster."""
    return await gate.log_out()
