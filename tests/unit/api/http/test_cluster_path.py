"""The path of a file: in the address or in the query, byte for byte, and never another file's."""

from __future__ import annotations

import pytest

from api.http.cluster_path import MAX_PATH_BYTES, RequestedPath, requested_path
from resop.errors import InvalidOptions


def asked(address: str, query: str = "") -> RequestedPath:
    return requested_path({"raw_path": address.encode(), "query_string": query.encode()})


IN_ADDRESS = {
    "~/a": b"a",
    "%7E/a": b"a",
    "~//a": b"a",
    "~": b".",
    "~/": b".",
    "~/~": b"~",
    "~/-/a": b"-/a",
    "-/etc/hosts": b"/etc/hosts",
    "%2D/etc/hosts": b"/etc/hosts",
    "-//etc/hosts": b"/etc/hosts",
    "-": b"/",
    "-/": b"/",
    "-/~": b"/~",
    "/etc/hosts": b"/etc/hosts",
    "%2Fetc/hosts": b"/etc/hosts",
    "./a": b"./a",
    "../bob/a": b"../bob/a",
    "": b".",
    "-/x%3Fy%23z%25%3B+%20%FF": b"/x?y#z%;+ \xff",
    "~/a%20": b"a ",
}
NOT_EXPLICIT = {"a": b"a", "etc/hosts": b"etc/hosts", "a%0Ab": b"a\nb", "-a/b": b"-a/b"}


def test_path_in_the_address() -> None:
    for address, path in IN_ADDRESS.items():
        assert asked(f"/files/{address}") == (path, True), address
    for address, path in NOT_EXPLICIT.items():
        assert asked(f"/folders/{address}") == (path, False), address


def test_path_in_the_query() -> None:
    for query, path in {
        "path=/etc/hosts": b"/etc/hosts",
        "path=%2Fetc%2Fhosts": b"/etc/hosts",
        "path=//etc/hosts": b"//etc/hosts",
        "path=a/b": b"a/b",
        "path=-/b": b"-/b",
        "path=~/b&mode=0600": b"b",
        "path=~": b".",
        "x=1&path=a+b%2Bc%26d%3D%FF": b"a b+c&d=\xff",
        "path=Uber%CC%88": "Uber\u0308".encode(),
    }.items():
        assert asked("/files", query) == asked("/files/", query) == (path, True), query


def test_path_has_one_place() -> None:
    for address, query in {
        "/files": "",
        "/folders": "path=",
        "/files/a": "path=a",
        "/files/-/a": "path=/a",
        "/files/": "path=a&path=b",
        "/files/b": "path=",
    }.items():
        with pytest.raises(InvalidOptions, match="path"):
            asked(address, query)


def test_impossible_paths_are_refused() -> None:
    for address, query in {
        "/files/a%00b": "",
        "/files/": "path=a%00b",
        "/files/-/" + "x" * MAX_PATH_BYTES: "",
    }.items():
        with pytest.raises(InvalidOptions, match="path"):
            asked(address, query)
