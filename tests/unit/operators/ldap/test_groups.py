"""A group is changed in the way that it is kept."""

from operators.ldap import groups
from operators.ldap.ldif import LdapEntry
from operators.ldap.people import guess_surname
from resop.testing import FakeShell

ADA = groups.GroupMember("uid=ada,ou=People,dc=x", ["ada"])
SITE = {"LDAP_PEOPLE": "ou=People,dc=x", "LDAP_BIND_DN": "cn=svc,dc=x"}


def group(*classes: str, **values: list[str]) -> LdapEntry:
    return LdapEntry("cn=g,dc=x", {"objectClass": list(classes), "cn": ["g"], **values})


def test_attribute_of_the_members_follows_the_class() -> None:
    cases = [
        (group("posixGroup"), "", ["memberUid"]),
        (group("groupOfNames", "posixGroup"), "", ["member"]),
        (group("top", "GROUPOFUNIQUENAMES", "posixGroup"), "", ["uniqueMember"]),
        (group("groupOfMembers", "posixGroup", memberUid=["bob"]), "", ["member", "memberUid"]),
        (group("ipaUserGroup", "nestedGroup", "groupOfNames", "posixGroup"), "", ["member"]),
        (group("posixGroup"), "member, memberUid", ["member", "memberUid"]),
    ]
    for entry, chosen, expected in cases:
        shell = FakeShell(settings={"LDAP_GROUP_MEMBERS": chosen})
        assert groups.member_attributes(shell, entry) == expected


def test_members_are_named_once_without_the_placeholder() -> None:
    entry = group(
        "groupOfNames",
        member=["CN=Svc, dc=X", "uid=ada,ou=People,dc=x", "cn=other,dc=y", ""],
        memberUid=["bob", "ada"],
    )
    assert groups.member_names(FakeShell(settings=SITE), entry) == ["bob", "ada", "cn=other,dc=y"]


def test_user_is_matched_by_exact_name_or_equal_dn() -> None:
    assert ADA.matches("member", "UID=Ada, ou=people, dc=X")
    assert ADA.matches("memberUid", "ada")
    assert not ADA.matches("memberUid", "Ada")  # as NSS compares them
    assert (ADA.value("memberUid"), ADA.value("uniqueMember")) == ("ada", ADA.dn)


def test_surname_is_the_last_word_without_titles() -> None:
    cases = {
        "Ada Example": "Example",
        "Ada Example, Ph.D.": "Example",
        "Ada Example PhD": "Example",
        "Martin Luther King, Jr.": "King",
        "Henry Ford II": "Ford",
        "Ada, M.D., Ph. D.": "Ada",
        "Zoë": "Zoë",
        " Juan de la Vega ": "Vega",
    }
    for full_name, surname in cases.items():
        assert guess_surname(full_name) == surname
