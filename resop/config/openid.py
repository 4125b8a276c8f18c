"""Read the settings for OpenID Connect that are lists or files."""

from __future__ import annotations

from pathlib import Path

from resop.config.yaml_loader import InvalidYaml, read_yaml
from resop.errors import InvalidSettings

# No symmetric algorithm: an issuer's public key must never be used as a shared secret.
TOKEN_ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519"),
)
REDIRECT_PATH = "/pages/openid/callback"
"""Where the issuer sends browsers back to."""


def words(text: str) -> list[str]:
    """Return the words of a setting, which spaces or commas separate."""
    return text.replace(",", " ").split()


def read_users(file: Path) -> dict[str, str]:
    """Read OIDC_USERS: a YAML mapping of the claim's values to users of the cluster.

    Raises InvalidSettings.
    """
    try:
        content, _ = read_yaml(file)
    except OSError as fault:
        raise InvalidSettings(f"OIDC_USERS: {file}: {fault.strerror}") from None
    except InvalidYaml as fault:
        raise InvalidSettings(f"OIDC_USERS: {file}:{fault.line}: {fault.message}") from None
    users = content or {}
    if not isinstance(users, dict) or not all(
        isinstance(key, str) and isinstance(value, str) and value and value != "root"
        for key, value in users.items()
    ):
        raise InvalidSettings(
            f"OIDC_USERS: {file}: must be a mapping of values of OIDC_CLAIM to user names, both "
            "in quotes if they are numbers, and nobody may be root"
        )
    return users
