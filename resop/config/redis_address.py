"""Read REDIS_URL: the address of one Redis server, or of the sentinels that know the master.

Addresses that the two libraries, redis-py and kombu, do not both understand are refused: otherwise
the service would start and never be ready.

Neither library has an address for sentinels that names all there is to know. The form
`redis+sentinel://…/MASTER/NUMBER` is the one that other programs have agreed on (docket,
redis-vl-python, LangChain, limits, Harbor). Celery's own is accepted as well, with its option
`master_name` after the '?', because an installation that runs Celery already has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

TLS_OPTIONS = (
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
)
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
CERTIFICATE_CHECKS = ("required", "optional", "none")
SENTINEL_PORT = 26379

_DATABASE = re.compile("/?|/[0-9]+")
_MASTER = re.compile("/([A-Za-z0-9._-]+)(/?|/[0-9]+)")  # the names that sentinels allow
_CELERY = "sentinel://"
_FORM = (
    "REDIS_URL must be of the form redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER]; in a "
    "password, write special characters as %XX"
)
_SENTINEL_FORM = (
    "REDIS_URL must be of the form redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],…"
    "/MASTER[/NUMBER][?sentinel_password=PASSWORD], or rediss+sentinel://… with TLS; in a "
    "password, write special characters as %XX"
)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is, and how to log in there."""

    url: str
    """The server's address for redis-py and kombu. With sentinels, it names the first of them in
    place of the server, whose name they know."""
    sentinels: tuple[tuple[str, int], ...] = ()
    """The hosts and ports of the sentinels; without any, the server is at `url`."""
    master: str = ""
    """The name by which the sentinels know the master."""
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    @property
    def tls(self) -> bool:
        """True if connections are encrypted, to sentinels too."""
        return self.url.startswith("rediss:")


def read_redis_address(text: str) -> RedisAddress:
    """Return the address. Raises ValueError, which does not contain it, if it cannot be used."""
    scheme = text.partition("://")[0]
    if scheme == "unix":
        return RedisAddress(text)
    if scheme == "sentinel":
        text = _from_celery(text)
    if text.partition("://")[0].endswith("+sentinel"):
        return _read_sentinels(text)
    _check_server(text, _FORM)
    return RedisAddress(text)


def _check_server(address: str, form: str) -> None:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise ValueError(form) from None
    if port == 0 or not _DATABASE.fullmatch(parts.path) or parts.fragment:
        raise ValueError(form)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    allowed = TLS_OPTIONS if parts.scheme == "rediss" else ()
    if not options.keys() <= set(allowed):
        raise ValueError(
            f"REDIS_URL: after '?', rediss:// may have {', '.join(TLS_OPTIONS)}; "
            f"redis:// may have nothing; with sentinels, also {' and '.join(SENTINEL_OPTIONS)}"
        )
    if options.get("ssl_cert_reqs", "required") not in CERTIFICATE_CHECKS:
        raise ValueError(
            f"REDIS_URL: ssl_cert_reqs must be {' or '.join(CERTIFICATE_CHECKS)}; "
            "CERT_REQUIRED is the spelling of another library"
        )


def _read_sentinels(text: str) -> RedisAddress:
    """Read `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/MASTER/NUMBER?OPTIONS`."""
    scheme, _, rest = text.partition("+sentinel://")
    authority, slash, path = rest.partition("/")
    path, _, query = path.partition("?")
    named = _MASTER.fullmatch(slash + path)
    login, at, hosts = authority.rpartition("@")
    if not named or "," in login or "?" in authority or "#" in rest:
        raise ValueError(_SENTINEL_FORM)
    sentinels = tuple(map(_host_and_port, hosts.split(",")))
    options = dict(parse_qsl(query, keep_blank_values=True))
    own = {name: options.pop(name) for name in SENTINEL_OPTIONS if name in options}
    tls = f"?{urlencode(options)}" if options else ""
    host, port = sentinels[0]
    first = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    url = f"{scheme}://{login}{at}{first}{named[2]}{tls}"
    _check_server(url, _SENTINEL_FORM)
    return RedisAddress(url, sentinels, named[1], **own)


def _host_and_port(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_SENTINEL_FORM) from None
    if not host or port == 0 or parts.path or parts.username is not None:
        raise ValueError(_SENTINEL_FORM)
    return unquote(host), port or SENTINEL_PORT


def _from_celery(text: str) -> str:
    """Return `sentinel://HOST:PORT;sentinel://HOST:PORT/NUMBER?master_name=MASTER` as our form."""
    *first, last = (each.removeprefix(_CELERY) for each in text.split(";"))
    last, _, query = last.partition("?")
    last, slash, number = last.partition("/")
    options = dict(parse_qsl(query, keep_blank_values=True))
    master = options.pop("master_name", "")
    members = [each.removesuffix(slash + number).removesuffix("/") for each in (*first, last)]
    logins = {login for login, at, _ in (each.rpartition("@") for each in members) if at}
    if not master or len(logins) > 1:
        raise ValueError(
            "REDIS_URL: with sentinel://HOST:PORT;sentinel://HOST:PORT/NUMBER, add "
            f"?master_name=MASTER, and one login at most; or else: {_SENTINEL_FORM}"
        )
    login = f"{logins.pop()}@" if logins else ""
    hosts = ",".join(each.rpartition("@")[2] for each in members)
    own = f"?{urlencode(options)}" if options else ""
    return f"redis+sentinel://{login}{hosts}/{master}{slash}{number}{own}"
