"""Refuse addresses of Redis that its two libraries, redis-py and kombu, do not both understand."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

TLS_OPTIONS = (
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
)
CERTIFICATE_CHECKS = ("required", "optional", "none")

_DATABASE = re.compile("/?|/[0-9]+")


def refuse_redis_address(address: str) -> None:
    """Raise ValueError, without the address, for one that some connection could not use.

    Otherwise the service would start and never be ready.
    """
    form = ValueError(
        "REDIS_URL must be of the form redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER]; in a "
        "password, write special characters as %XX"
    )
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise form from None
    if port == 0 or not _DATABASE.fullmatch(parts.path) or parts.fragment:
        raise form
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    allowed = TLS_OPTIONS if parts.scheme == "rediss" else ()
    if not options.keys() <= set(allowed):
        raise ValueError(
            f"REDIS_URL: after '?', rediss:// may have {', '.join(TLS_OPTIONS)}; "
            "redis:// may have nothing"
        )
    if options.get("ssl_cert_reqs", "required") not in CERTIFICATE_CHECKS:
        raise ValueError(
            f"REDIS_URL: ssl_cert_reqs must be {' or '.join(CERTIFICATE_CHECKS)}; "
            "CERT_REQUIRED is the spelling of another library"
        )
