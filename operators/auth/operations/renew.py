"""Get a new token for the login of this request, before its token expires."""

from typing import Any

from resop import Gate, operation


@operation(examples=[{}])
async def renew(gate: Gate) -> dict[str, Any]:
    """Return the new token, its user and cluster, and when it and the login expire."""
    return await gate.renew()
