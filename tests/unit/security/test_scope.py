"""The scope of an API key: globs of actions, and addresses in any notation."""

import pytest

from resop.security.scope import Scope


@pytest.mark.parametrize(
    ("globs", "action", "covered"),
    [
        (("*",), "core:run", True),
        (("slurm:*",), "slurm:squeue", True),
        (("slurm:s*",), "slurm:cancel", False),
        (("slurm:squeue",), "slurm:squeue2", False),
        (("slurm:squeue",), "xslurm:squeue", False),
        (("ldap:*", "files:read"), "files:read", True),
        (("files:read",), "files:write", False),
        (("Core:run",), "core:run", False),
        ((), "core:run", False),
    ],
)
def test_a_glob_covers_whole_names_only(globs: tuple[str, ...], action: str, covered: bool) -> None:
    assert Scope(actions=globs).covers(action) is covered


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        ((), "local", True),
        (("192.0.2.0/24",), "192.0.2.7", True),
        (("192.0.2.0/24",), "192.0.3.7", False),
        (("192.0.2.0/24",), "::ffff:192.0.2.7", True),
        (("192.0.2.7/32", "2001:db8::/64"), "2001:db8::1", True),
        (("2001:db8::/64",), "2001:db8:0:1::1", False),
        (("0.0.0.0/0",), "2001:db8::1", False),
        (("0.0.0.0/0",), "local", False),
        (("0.0.0.0/0",), "192.0.2.7, 198.51.100.1", False),
        (("0.0.0.0/0",), "", False),
    ],
)
def test_an_address_is_inside_or_the_request_is_refused(
    networks: tuple[str, ...], address: str, allowed: bool
) -> None:
    assert Scope(addresses=networks).allows_address(address) is allowed


def test_scope_survives_its_way_through_json() -> None:
    scope = Scope(True, ("slurm:*", "files:read"), ("192.0.2.0/24",))
    assert Scope.from_json(scope.as_json()) == scope
    with pytest.raises(KeyError):
        Scope.from_json({"read_only": False})
