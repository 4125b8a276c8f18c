"""DNs are taken apart as RFC 4514 writes them."""

from operators.ldap import dn


def test_equal_names_are_equal_in_every_spelling() -> None:
    pairs = [
        ("uid=ada,ou=People,dc=x", "UID=Ada, OU=people ,DC=X"),
        ("cn=O'Neill\\, Shaun+uid=js,dc=x", "uid=JS+cn=O'Neill\\2c Shaun,dc=x"),
        ("cn=M\\c3\\bcller,dc=x", "cn=Müller,dc=x"),
        ("cn=a  b,dc=x", "cn=a b,dc=x"),
        ("", ""),
    ]
    for one, other in pairs:
        assert dn.normalize(one) == dn.normalize(other)
    assert dn.normalize("uid=a,dc=x") != dn.normalize("uid=b,dc=x")
    assert dn.normalize("cn=a\\,dc=x") != dn.normalize("cn=a,dc=x")


def test_parts_of_a_name_are_found() -> None:
    odd = "cn=O'Neill\\, Shaun+uid=J\\+S,ou=People,dc=x"
    assert dn.parent(odd) == "ou=People,dc=x"
    assert (dn.rdn_value(odd, "UID"), dn.rdn_value(odd, "cn")) == ("J+S", "O'Neill, Shaun")
    assert dn.rdn_value("cn=ada,dc=x", "uid") is None
    assert dn.rdn_value("uid=m\\c3\\bcller,dc=x", "uid") == "müller"
    assert (dn.rdn_attribute(odd), dn.parent("dc=x")) == ("cn", "")
