"""Records of nodes, with reasons and comments in every form that scontrol prints."""

from operators.slurm.cluster.node_records import NodeReason, parse_node

# The fields after a reason; src/api/node_info.c of 26.05.
LATER = [
    "Comment=needs State=love Reason=why | x",
    "Extra={a=b}",
    "InstanceId=i-1 InstanceType=m5",
    "ReservationName=maintenance-2026",
    "TLSCertTokenSet=No TLSCertLastRenewal=1760000000",
    "Topology=default:s0:leaf1",
    "Parameters=a=b",
]
FIRST = "NodeName=cn04 CPUTot=4"
STATE = "State=IDLE+DRAIN ThreadsPerCore=1"
SINCE = "2025-10-09T08:53:20+00:00"


def test_reason_ends_where_the_next_field_begins() -> None:
    reasons = {
        "Reason=fan broken [root@1760000000]": NodeReason("fan broken", "root", SINCE),
        "Reason=a [x] b [alice@example.org@1760000000]": NodeReason(
            "a [x] b", "alice@example.org", SINCE
        ),
        "Reason=planned_maintenance [root@2026-07-22T23:31:17]": NodeReason(
            "planned_maintenance", "root", None
        ),
        "Reason=Not responding": NodeReason("Not responding", None, None),
    }
    for text, reason in reasons.items():
        for later in ([], *([each] for each in LATER), LATER):
            for separator in ("\n   ", " "):
                record = parse_node(separator.join([FIRST, STATE, text, *later]))
                assert record.reason == reason, (text, later, separator)
                assert (record.name, record.state.status) == ("cn04", "DRAINED")


def test_reason_of_several_lines_may_look_like_fields() -> None:
    more = "Comment=no comment State=DOWN"
    text = f"{FIRST}\n   {STATE}\n   Reason=one [root@1760000000]\n          {more}\n   Topology=x"
    record = parse_node(text)
    assert record.reason == NodeReason(f"one {more}", "root", SINCE)
    assert record.state.status == "DRAINED"


def test_field_of_a_newer_release_is_no_part_of_the_reason() -> None:
    for separator in ("\n   ", " "):
        fields = [FIRST, STATE, "Reason=fan broken [root@1760000000]", "NewInSlurm99=some words"]
        assert parse_node(separator.join(fields)).reason == NodeReason("fan broken", "root", SINCE)


def test_comment_is_not_read_as_fields() -> None:
    for separator in ("\n   ", " "):
        record = parse_node(separator.join([FIRST, STATE, LATER[0]]))
        assert record.reason is None or separator == " "
        assert (record.name, record.state.base) == ("cn04", "IDLE")
