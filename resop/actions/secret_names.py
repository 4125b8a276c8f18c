"""Recognise the names of options and settings whose values are probably secret."""

from __future__ import annotations

import re

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:pass(?:word|wd|phrase|code)|secret|token|credential|(?:api|private|secret|access)_?key)"
    r"s?\d*$"
)
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_secret_name(name: str) -> bool:
    """Return True for a name that ends with the word for a secret.

    So `new_password`, `apiKey` and `LICENSE_TOKEN`, but not `password_file` or `token_count`.
    """
    return bool(_SECRET_NAME.search(_CAPITAL.sub("_", name).replace("-", "_").lower()))
