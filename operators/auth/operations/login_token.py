"""Log in with an OpenID Connect token, at sites whose clusters accept SSH certificates."""

from typing import Annotated

from pydantic import Field

from resop import Gate, LoginAnswer, Secret, operation


class IdToken(Secret):
    """An ID token: its claims and signature take more than a password."""

    max_bytes = 16_384


@operation(examples=[{"id_token": "eyJhbGciOi…"}])
async def login_token(
    gate: Gate,
    id_token: Annotated[
        IdToken, Field(description="ID token (JWT) from the site's OpenID Connect issuer")
    ],
    cluster: Annotated[
        str | None,
        Field(description="name of the cluster (default: the first that takes certificates)"),
    ] = None,
) -> LoginAnswer:
    """Return the token, its user and cluster, and when it expires."""
    return await gate.log_in_by_token(id_token, cluster)
