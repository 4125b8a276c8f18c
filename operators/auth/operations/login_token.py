"""Log in with an OpenID Connect token, at sites whose clusters accept SSH certificates."""

from typing import Annotated, Any

from pydantic import Field

from resop import Gate, Secret, operation


@operation(examples=[{"id_token": "eyJhbGciOi…"}])
async def login_token(
    gate: Gate,
    id_token: Annotated[
        Secret, Field(description="ID token (JWT) from the site's OpenID Connect issuer")
    ],
    cluster: Annotated[
        str | None, Field(description="name of the cluster (default: the first one)")
    ] = None,
) -> dict[str, Any]:
    """Return the token, its user and cluster, and when it expires."""
    return await gate.log_in_by_token(id_token, cluster)
