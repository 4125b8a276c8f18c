"""JSON objects of the service, whose members are attributes as well."""

from __future__ import annotations

import json
from typing import Any


class Record(dict[str, Any]):
    """A JSON object: `node["name"]` is also `node.name`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            members = ", ".join(self) or "none"
            raise AttributeError(f"no member {name!r} (members: {members})") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self if name.isidentifier())]


def read_json(content: bytes | str) -> Any:
    """Return JSON with its objects as records. Raises ValueError if it is no JSON."""
    return json.loads(content, object_hook=Record)
