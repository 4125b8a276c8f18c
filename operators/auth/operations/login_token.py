"""Log in with a token of the site's OpenID Connect issuer, where the cluster takes certificates."""

from typing import Annotated, Any

from pydantic import Field

from resop import Gate, Secret, operation


@operation(examples=[{"id_token": "eyJhbGciOi…"}])
async def login_token(
    gate: Gate,
    id_token: Annotated[Secret, Field(description="the issuer's signed token, a JWT")],
    cluster: Annotated[
        str | None, Field(description="name of the cluster; the first one when not given")
    ] = None,
) -> dict[str, Any]:
    """Return the token, who it is for, on which cluster, and until when."""
    return await gate.log_in_by_token(id_token, cluster)
