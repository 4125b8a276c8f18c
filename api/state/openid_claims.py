"""The rules for the claims of the issuer's tokens, and for the user that a token names.

Sources: OpenID Connect Core 1.0, 2 and 3.1.3.7 (ID tokens); RFC 9068 (access tokens); RFC 8725.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any, NamedTuple

from resop.config.openid import TOKEN_ALGORITHMS, read_users, words
from resop.config.settings import Settings
from resop.errors import LoginRefused

LEEWAY_SECONDS = 120.0
"""How far the issuer's clock may be ahead of this machine's."""
MAX_CLAIM_LENGTH = 255
MAX_UNIX_TIME = 253_402_300_800
"""The end of the year 9999, the last one that Python knows."""
LISTED_MIN_UID = 1
"""Nobody can be root, whatever OIDC_USERS says."""
_USER_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,63}")
SYSTEM_USERS = frozenset(
    [
        *("root", "toor", "admin", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail"),
        *("news", "uucp", "proxy", "www-data", "backup", "list", "irc", "gnats", "nobody", "adm"),
        *("operator", "halt", "shutdown", "ftp", "apache", "nginx", "sshd", "dbus", "polkitd"),
        *("systemd-network", "systemd-resolve", "messagebus", "slurm", "slurmdbd", "munge"),
        *("ldap", "openldap", "mysql", "mariadb", "postgres", "redis", "valkey", "sssd", "chrony"),
        *("ntp", "postfix", "rpc", "rpcuser", "named", "tss", "tcpdump", "_apt"),
    ]
)
"""Accounts that are no person's, beside those below OIDC_MIN_UID."""


class TokenUse(Enum):
    """The purpose that a token is shown for."""

    ID = "ID token"
    ACCESS = "access token"


class NamedUser(NamedTuple):
    """The user that a token names."""

    username: str
    minimum_uid: int
    """The lowest number that the account may have: OIDC_MIN_UID unless OIDC_USERS lists it."""


class ClaimRules:
    """The rules of the settings."""

    def __init__(self, settings: Settings) -> None:
        """Raise InvalidSettings if OIDC_USERS cannot be read."""
        self._issuer = settings.OIDC_ISSUER
        self._audience = settings.OIDC_AUDIENCE or ""
        self._clients = {self._audience, *words(settings.OIDC_CLIENTS)}
        self._algorithms = set(words(settings.OIDC_ALGORITHMS) or TOKEN_ALGORITHMS)
        self._max_age = settings.OIDC_MAX_AGE
        self._acr, self._amr = set(words(settings.OIDC_ACR)), set(words(settings.OIDC_AMR))
        self._claim = settings.OIDC_CLAIM
        self._users = read_users(settings.OIDC_USERS) if settings.OIDC_USERS else None
        self._minimum_uid = max(settings.OIDC_MIN_UID, LISTED_MIN_UID)
        self._administrators = {each.username for each in settings.administrators()}

    def check_header(self, header: Mapping[str, Any], use: TokenUse) -> None:
        """Check algorithm and type. Raises LoginRefused."""
        if not _is_one_of(header.get("alg"), self._algorithms):
            raise _invalid("alg")
        if "crit" in header or not isinstance(header.get("kid", ""), str):
            raise _invalid("header")
        kind = header.get("typ", "JWT")
        known = {"jwt"} if use is TokenUse.ID else {"jwt", "at+jwt"}
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in known:
            raise _invalid("typ")

    def check(
        self, header: Mapping[str, Any], claims: Mapping[str, Any], use: TokenUse, moment: float
    ) -> None:
        """Check everything but the signature. Raises LoginRefused, which names the claim."""
        self.check_header(header, use)
        if claims.get("iss") != self._issuer:
            raise _invalid("iss")
        self._check_clients(claims, use)
        self._check_times(claims, moment)
        self._check_type(header, claims, use)
        self._check_strength(claims)

    def check_nonce(self, claims: Mapping[str, Any], nonce: str) -> None:
        """Check that a token answers this service's own request. Raises LoginRefused."""
        said = str(claims.get("nonce", "")).encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(said, nonce.encode()):
            raise _invalid("nonce")

    def acceptable_until(self, claims: Mapping[str, Any]) -> float:
        """Return until when a valid token can be used to log in, as a Unix time."""
        return min(_time(claims, "exp"), _time(claims, "iat") + self._max_age)

    def user_of(self, claims: Mapping[str, Any]) -> NamedUser:
        """Return the user on the cluster. Raises LoginRefused if the token names none."""
        value = claims.get(self._claim)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_CLAIM_LENGTH:
            raise LoginRefused(f"the token's claim {self._claim!r} names nobody")
        if self._users is not None:
            if value not in self._users:
                raise LoginRefused("the person that the token names may not log in here")
            return NamedUser(self._users[value], LISTED_MIN_UID)
        if not _USER_NAME.fullmatch(value) or value in SYSTEM_USERS:
            raise LoginRefused(
                f"the token's claim {self._claim!r} is not the name of a person on the cluster"
            )
        if value in self._administrators:
            raise LoginRefused(
                "administrators of this service cannot log in by token, unless OIDC_USERS lists "
                "them: log in with a password"
            )
        return NamedUser(value, self._minimum_uid)

    def _check_clients(self, claims: Mapping[str, Any], use: TokenUse) -> None:
        """Check for whom the token was issued, and to whom."""
        named = claims.get("aud")
        audiences = [named] if isinstance(named, str) else named
        if not isinstance(audiences, list) or self._audience not in audiences:
            raise _invalid("aud")
        party = claims.get("azp", claims.get("client_id") if use is TokenUse.ACCESS else None)
        if use is TokenUse.ID and len(audiences) > 1:
            if not all(_is_one_of(each, self._clients) for each in audiences):
                raise _invalid("aud")
            if party is None:
                raise _invalid("azp")
        if party is not None and not _is_one_of(party, self._clients):
            raise _invalid("azp")

    def _check_times(self, claims: Mapping[str, Any], moment: float) -> None:
        expires, issued = _time(claims, "exp"), _time(claims, "iat")
        if expires <= moment:
            raise LoginRefused("the token has expired: get a new one")
        if issued > moment + LEEWAY_SECONDS:
            raise _invalid("iat")
        if issued < moment - self._max_age:
            raise LoginRefused(f"the token is older than {self._max_age} s: get a new one")
        if "nbf" in claims and _time(claims, "nbf") > moment + LEEWAY_SECONDS:
            raise _invalid("nbf")

    def _check_type(
        self, header: Mapping[str, Any], claims: Mapping[str, Any], use: TokenUse
    ) -> None:
        """Tell ID tokens, access tokens and logout tokens apart."""
        said = str(claims.get("typ", "")).lower()  # Keycloak's way
        marked = str(header.get("typ", "")).lower().removeprefix("application/") == "at+jwt"
        fits = said in ("", "id") if use is TokenUse.ID else marked or said == "bearer"
        if not fits or "events" in claims:
            raise LoginRefused(f"the token is not valid: it is no {use.value}")

    def _check_strength(self, claims: Mapping[str, Any]) -> None:
        """Check how the person has logged in at the issuer."""
        if self._acr and not _is_one_of(claims.get("acr"), self._acr):
            raise LoginRefused("the login at the issuer was not strong enough (acr)")
        used = claims.get("amr")
        if self._amr and not (isinstance(used, list) and self._amr <= set(map(str, used))):
            raise LoginRefused("the login at the issuer was not strong enough (amr)")


def _is_one_of(value: object, allowed: Collection[str]) -> bool:
    # A claim may be any JSON value.
    return isinstance(value, str) and value in allowed


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _invalid(name)
    # Before the comparison: JSON has numbers that no float can hold, and infinity.
    if not -MAX_UNIX_TIME < value < MAX_UNIX_TIME:
        raise _invalid(name)
    return float(value)


def _invalid(part: str) -> LoginRefused:
    # Only the name of the part: its value may be another service's secret.
    return LoginRefused(f"the token is not valid: {part}")
