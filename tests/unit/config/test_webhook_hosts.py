"""Where a notification may go: names that the site lists, on public addresses."""

import pytest

from resop.config.webhook_hosts import WebhookHost, WebhookHosts, is_public

HOSTS = WebhookHosts("hooks.hpc.example, *.portal.example:8443 localhost")


@pytest.mark.parametrize(
    ("address", "receiver"),
    [
        ("https://hooks.hpc.example", ("hooks.hpc.example", 443, "/")),
        ("https://Hooks.HPC.example:443/a//b?c=d%20e", ("hooks.hpc.example", 443, "/a//b?c=d%20e")),
        (
            "https://hooks.hpc.example//evil.example/x",
            ("hooks.hpc.example", 443, "//evil.example/x"),
        ),
        ("https://a.b.portal.example:8443/?@x", ("a.b.portal.example", 8443, "/?@x")),
        ("https://localhost/x", ("localhost", 443, "/x")),
    ],
)
def test_address_of_a_listed_host_is_parsed(address: str, receiver: tuple[str, int, str]) -> None:
    assert HOSTS.receiver(address) == WebhookHost(*receiver)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://hooks.hpc.example", "https://"),
        ("//hooks.hpc.example", "https://"),
        ("", "printable"),
        ("https://hooks.hpc.example/é", "printable"),
        ("https://hooks.hpc.example/a b", "printable"),
        ("https://hooks.hpc.example\\@evil.example/", "printable"),
        ("https://hooks.hpc.example/\n", "printable"),
        ("https://hooks.hpc.example/" + "x" * 2000, "at most"),
        ("https://ada:pw@hooks.hpc.example/", "user name"),
        ("https://evil.example@hooks.hpc.example/", "user name"),
        ("https://hooks.hpc.example/#x", "fragment"),
        ("https://evil.example#hooks.hpc.example", "fragment"),
        ("https://hooks.hpc.example:8443/", "not among"),
        ("https://hooks.hpc.example:99999/", "not an address"),
        ("https://hooks.hpc.example:http/", "not an address"),
        ("https://a.portal.example/", "not among"),
        ("https://portal.example:8443/", "not among"),
        ("https://evilportal.example:8443/", "not among"),
        ("https://hooks.hpc.example.evil.example/", "not among"),
        ("https://hooks.hpc.example./", "by its name"),
        ("https:///x", "by its name"),
        ("https://127.0.0.1/", "by its name"),
        ("https://127.1/", "by its name"),
        ("https://0x7f.1/", "by its name"),
        ("https://0x7f000001/", "by its name"),
        ("https://2130706433/", "by its name"),
        ("https://0177.0.0.1/", "by its name"),
        ("https://[::1]/", "by its name"),
        ("https://[::ffff:127.0.0.1]/", "by its name"),
        ("https://[::1%25lo]/", "by its name"),
        ("https://[v1.x/", "not an address"),
        ("https://%6cocalhost/", "by its name"),
    ],
)
def test_any_other_address_is_refused_with_a_reason(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HOSTS.receiver(address)


def test_without_hosts_webhooks_are_off() -> None:
    assert not WebhookHosts(" ")
    with pytest.raises(ValueError, match="webhooks are off"):
        WebhookHosts("").receiver("https://hooks.hpc.example")


@pytest.mark.parametrize("listed", ["*", "https://a.example", "a.example:0", "a:70000", "10.0.0.1"])
def test_wrong_list_is_refused(listed: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        WebhookHosts(listed)


@pytest.mark.parametrize("address", ["9.9.9.9", "2620:fe::fe"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:9.9.9.9", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("2001:0:5ef5:79fd::1",),
    ],
)
def test_all_other_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)
