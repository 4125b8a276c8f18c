"""Get a new token for the login of this request, before its token expires."""

from resop import Gate, LoginAnswer, operation


@operation(examples=[{}])
async def renew(gate: Gate) -> LoginAnswer:
    """Return the new token, its user and cluster, and when it and the login expire."""
    return await gate.renew()
