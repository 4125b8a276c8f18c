"""Who may use a reservation, licenses by name, and reservations as each release prints them."""

from operators.slurm.cluster.license_counts import parse_licenses
from operators.slurm.cluster.reservation_access import Requester, may_use
from operators.slurm.cluster.reservation_records import ReservationRecord, parse_reservation

ME = Requester("alice", frozenset({"domain users"}), [["project1", "research", "root"]])
TWO_ACCOUNTS = Requester("alice", frozenset(), [["trial", "root"], ["p2", "root"]])
NO_ACCOUNT = Requester("alice", frozenset(), [])
UNKNOWN = Requester("alice", frozenset(), None)


def record(**fields: str) -> ReservationRecord:
    usual = {
        "ReservationName": "r",
        "StartTime": "1",
        "EndTime": "2",
        "Nodes": "cn[1-2]",
        "Flags": "",
        "Users": "(null)",
        "Accounts": "(null)",
        "State": "ACTIVE",
    }
    pairs = [f"{name}={value}" for name, value in (usual | fields).items()]
    return parse_reservation("\n   ".join(pairs) + "\n\n")


def test_who_may_use_a_reservation() -> None:
    cases: list[tuple[dict[str, str], Requester, bool | None]] = [
        ({"Users": "alice,bob"}, ME, True),
        ({"Users": "bob,alice2"}, ME, False),
        ({"Users": "-bob"}, ME, True),
        ({"Users": "-alice,-bob"}, ME, False),
        ({"Groups": "hpc,domain users"}, ME, True),
        ({"Groups": "users"}, ME, False),
        ({"Accounts": "research"}, ME, True),  # the parent of an own account
        ({"Accounts": "root"}, ME, True),
        ({"Accounts": "other"}, ME, False),
        ({"Accounts": "-research"}, ME, False),
        ({"Accounts": "-other"}, ME, True),
        ({"Users": "alice", "Accounts": "-research"}, ME, False),
        ({"Accounts": "-trial"}, TWO_ACCOUNTS, True),  # with the other account
        ({"Accounts": "project1"}, NO_ACCOUNT, False),
        ({"Accounts": "project1"}, UNKNOWN, None),
        ({"Users": "bob", "Accounts": "project1"}, UNKNOWN, False),
        ({"Users": "alice", "Accounts": "project1"}, ME, True),
        ({"Users": "alice", "Accounts": "other"}, ME, False),
        ({"Users": "alice", "Accounts": "research"}, ME, False),  # only exactly these accounts
        ({"Groups": "domain users", "Accounts": "research"}, ME, False),
        ({"Users": "-alice", "Accounts": "project1"}, ME, False),
        ({"QOS": "high"}, ME, None),
        ({"AllowedPartitions": "gpu", "Users": "bob"}, ME, False),
        ({"AllowedPartitions": "(null)", "QOS": "(null)", "Users": "alice"}, ME, True),
        ({"Flags": "TIME_FLOAT,MAINT", "Users": "alice"}, ME, False),
    ]
    for fields, requester, expected in cases:
        assert may_use(record(**fields), requester) is expected, (fields, requester)


def test_comment_and_names_may_look_like_fields() -> None:
    comment = "for Users=bob\n   State=INACTIVE, Comment=x\n\nand more"
    found = parse_reservation(
        "ReservationName=a b StartTime=1 EndTime=2 Duration=00:00:01\n"
        "   Nodes=gpu[1-2] NodeCnt=2 CoreCnt=6 Features=(null) PartitionName=(null) Flags=\n"
        "     NodeName=gpu1 CoreIDs=0-3\n"
        "     NodeName=gpu2 CoreIDs=0-1\n"
        "   TRES=cpu=6\n"
        "   Users=alice Groups=my group Accounts=(null) Licenses=(null) State=ACTIVE NewField=x\n"
        f"   MaxStartDelay=(null)\n   Comment={comment}\n\n"
    )
    assert (found.name, found.is_active, found.comment) == ("a b", True, comment)
    assert (found.users.allowed, found.groups.allowed) == (["alice"], ["my group"])
    assert (found.fields["Nodes"], found.count("CoreCnt"), found.flags) == ("gpu[1-2]", 6, [])


def test_licenses_of_reservations_and_jobs() -> None:
    cases = {
        "(null)": {},
        "": {},
        "matlab": {"matlab": 1},
        "matlab:4,ansys@flex1:2": {"matlab": 4, "ansys@flex1": 2},
        "matlab*4;idl": {"matlab": 4, "idl": 1},
        "matlab:2|idl:3": {"matlab": 2, "idl": 3},
        "lic@host.example:10": {"lic@host.example": 10},
    }
    for text, counts in cases.items():
        assert parse_licenses(text) == counts, text
