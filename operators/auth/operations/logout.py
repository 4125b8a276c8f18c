"""Revoke the token of this request, and remove its SSH key from the cluster."""

from typing import Any

from resop import Gate, operation


@operation(examples=[{}])
async def logout(gate: Gate) -> dict[str, Any]:
    """Return the user, and whether the key was removed from the cluster."""
    return await gate.log_out()
