"""The address of a login node: as ssh takes it, and refused at start if ssh could not use it."""

import pytest

from resop.config.host_address import login_node_address


def test_names_and_addresses_are_taken_as_ssh_takes_them() -> None:
    for given, address in {
        "login.hpc.example": "login.hpc.example",
        " LocalHost ": "LocalHost",
        "login_1": "login_1",
        "login.hpc.example.": "login.hpc.example.",
        "münchen.example": "münchen.example",
        "10.1.2.3": "10.1.2.3",
        "::1": "::1",
        "[::1]": "::1",
        "[FE80::1%eth0]": "FE80::1%eth0",
        "fe80::1%eth0": "fe80::1%eth0",
    }.items():
        assert login_node_address(given) == address


def test_anything_else_is_refused_with_what_to_write() -> None:
    for given, reason in {
        "": "must be the login node's address",
        "login:2222": "without the port: login here, and 2222 as the SSH port",
        "[::1]:2222": r"without the port: \[::1\] here",
        "alice@login": "without user",
        "ssh://login": "without user, port and path",
        "login /": "a host name such as",
        "login\x00": "a host name such as",
        "[login]": "a host name such as",
        "1:2:3": "a host name such as",
        "a..b": "is not the name of a host",
        "x" * 64 + ".example": "is not the name of a host",
        "ü" * 64: "is not the name of a host",
    }.items():
        with pytest.raises(ValueError, match=reason):
            login_node_address(given)
