"""The older SSH algorithms that a site can accept from login nodes that have no better ones.

The names are those of ssh_config(5): HostKeyAlgorithms, KexAlgorithms, Ciphers and MACs. They are
all different, so that one list serves the four kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator

from resop.types import ErrorMessage

HOST_KEY, KEX, CIPHER, MAC = "host key", "key exchange", "encryption", "MAC"

OLDER: Mapping[str, Sequence[str]] = {
    HOST_KEY: ("ssh-rsa",),
    KEX: ("diffie-hellman-group-exchange-sha1", "diffie-hellman-group1-sha1"),
    CIPHER: ("aes256-cbc", "aes192-cbc", "aes128-cbc", "3des-cbc"),
    MAC: ("hmac-sha1-96", "hmac-md5"),
}
"""The algorithms that can be accepted, by kind; OpenSSH has turned them off by default."""


def algorithm_names(text: str) -> tuple[str, ...]:
    """Return the names in a list such as `ssh-rsa,aes256-cbc`; each may begin with '+'.

    Raises ValueError for a name that is not in OLDER.
    """
    return _check(tuple(text.split(",")))


def older(kind: str, names: Sequence[str]) -> list[str]:
    """Return those of `names` that are algorithms of this kind."""
    return [name for name in OLDER[kind] if name in names]


def _check(names: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name for each in names if (name := each.strip().removeprefix("+")))
    known = [name for kind in OLDER.values() for name in kind]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"{unknown[0]} is not one of the older algorithms that can be accepted: "
            f"{', '.join(known)}"
        )
    return names


AlgorithmNames = Annotated[
    tuple[str, ...],
    ErrorMessage("must be a list of algorithms, such as [ssh-rsa]"),
    AfterValidator(_check),
]
"""A list of older algorithms."""
