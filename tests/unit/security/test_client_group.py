"""A client counts as one, with its whole /64 of IPv6, however its address is written."""

import pytest

from resop.security.client_group import client_group


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:50123", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:c000:207", "192.0.2.7"),
        ("64:ff9b::c000:207", "192.0.2.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("local", "local"),
    ],
)
def test_an_address_stands_for_its_network(address: str, network: str) -> None:
    assert client_group(address) == network


@pytest.mark.parametrize(
    "text", ["", "nonsense", "192.0.2.7, 192.0.2.8", "1.2.3", "localx", "[::1", "192.0.2.256:1"]
)
def test_another_text_is_counted_as_it_is(text: str) -> None:
    assert client_group(text) == text
