"""The second person: not the first one under another spelling, name or cluster."""

from resop.access.second_person import Account, may_be_same_person
from resop.security.identity import Identity


def account(name: str, cluster: str = "main", uid: int | None = None) -> Account:
    return Account(Identity(name, cluster), uid)


def test_one_person_under_several_names_is_no_second_person() -> None:
    for one, other, same in [
        (account("ada"), account("ada"), True),
        (account("ada"), account("ada", "devbox"), True),
        (account("ada"), account("Ada"), True),
        (account("ada"), account("CORP\\ada"), True),
        (account("ada"), account("ada@corp.example", "devbox"), True),
        (account("ada", uid=1000), account("alias", uid=1000), True),
        (account("ada", uid=1000), account("bob", "devbox", uid=1000), False),
        (account("ada", uid=1000), account("bob", uid=1001), False),
        (account("ada"), account("bob"), False),
        (account("ada", uid=0), account("toor", uid=0), True),
        (account("ada"), account("adam"), False),
    ]:
        assert may_be_same_person(one, other) is same, (one, other)
        assert may_be_same_person(other, one) is same, (other, one)
