"""The names under which known_hosts may have a login node."""

from resop.ssh.host_names import host_names


def test_names_are_those_that_ssh_looks_up() -> None:
    for address, names in {
        "LocalHost": ["localhost"],
        "Login.HPC.example.": ["login.hpc.example.", "login.hpc.example"],
        "MÜNCHEN.example": ["münchen.example", "xn--mnchen-3ya.example"],
        "0:0::0001": ["::1"],
        "FE80::A": ["fe80::a"],
        "127.1": ["127.0.0.1"],
        "10.0.0.1": ["10.0.0.1"],
    }.items():
        found = host_names(address, 22)
        assert list(found.with_port) == list(found.without_port) == names
        assert found.plain == names[-1]
        found = host_names(address, 2222)
        assert list(found.with_port) == [f"[{name}]:2222" for name in names]
        assert list(found.without_port) == names
