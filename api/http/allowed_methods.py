"""The methods that a path supports: for 405, and for the answer to OPTIONS (RFC 9110, 9.3.7)."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def allowed_methods(app: FastAPI, scope: Scope) -> str:
    """Return the methods for the path of a request as the value of `Allow`.

    Each method of a path has a route of its own, so all routes are asked.
    """
    found = {method for method in METHODS if _has_route(app, {**scope, "method": method})}
    if "GET" in found:
        found.add("HEAD")
    return ", ".join([*(method for method in METHODS if method in found), "OPTIONS"])


def _has_route(app: FastAPI, scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)
