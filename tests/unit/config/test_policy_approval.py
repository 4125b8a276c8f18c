"""Rules of the policy that require approval: who approves, and what is refused at start-up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resop.config.approvers import ApprovalEntry, Approvers
from resop.config.policy import Policy, load_policy
from resop.config.webhook_hosts import WebhookHosts
from resop.errors import ApprovalRequired, InvalidSettings
from resop.security.identity import Identity

FILE = """\
default: deny
rules:
  - allow: hpccenter:delete_user
    groups: helpdesk
    rate: 5
    approval:
      users: [carol, "*-admin"]
      groups: leads
      notify: https://chat.example.org/approvals
  - allow: hpccenter:*
    users: root1
"""
TWO_CLUSTERS = """\
default: deny
rules:
  - allow: core:run
    clusters: [main]
    approval: {users: [carol, "dave@devbox", "eve@corp.example"], groups: leads}
  - allow: core:script
    users: "*@main"
    approval: {users: [carol@main]}
"""


def policy(tmp_path: Path, text: str, *clusters: str) -> Policy:
    file = tmp_path / "policy.yml"
    file.write_text(text)
    return load_policy(file, clusters)


def test_decision_names_the_approvers_of_its_rule(tmp_path: Path) -> None:
    loaded = policy(tmp_path, FILE)
    assert loaded.asks_groups and loaded.has_approvals
    delete = "hpccenter:delete_user"
    decision = loaded.decide(delete, Identity("bob", "hpc"), ["helpdesk"])
    assert (decision.allowed, decision.place, decision.rate) == (True, "policy.yml:3", 5)
    assert decision.reason == (
        "allows hpccenter:delete_user to the group helpdesk, 5 a minute, "
        "if the user carol or the user *-admin or the group leads approves"
    )
    approvers = decision.approvers
    assert approvers is not None and approvers.notify == "https://chat.example.org/approvals"
    for name, groups, included in [
        ("carol", [], True),
        ("x-admin", None, True),
        ("bob", ["leads"], True),
        ("bob", ["leads2"], False),
        ("bob", None, False),
        ("carol2", [], False),
        ("Carol", [], False),
    ]:
        assert approvers.include(Identity(name, "hpc"), groups) is included, name
    assert loaded.decide(delete, Identity("root1", "hpc"), []).approvers is None
    assert not loaded.decide(delete, Identity("eve", "hpc"), []).allowed


def test_who_does_not_see_to_the_approval_is_refused(tmp_path: Path) -> None:
    decision = policy(tmp_path, FILE).decide(
        "hpccenter:delete_user", Identity("bob", "hpc"), ["helpdesk"]
    )
    decision.enforce(with_approval=True)
    with pytest.raises(ApprovalRequired, match=r"^policy\.yml:3: allows .* approves$") as refused:
        decision.enforce()
    assert refused.value.details == {"rule": "policy.yml:3"}


def test_approver_counts_on_the_named_cluster_only(tmp_path: Path) -> None:
    loaded = policy(tmp_path, TWO_CLUSTERS, "main", "devbox")
    run = loaded.decide("core:run", Identity("bob", "main"), []).approvers
    script = loaded.decide("core:script", Identity("bob", "main"), []).approvers
    assert run is not None and script is not None
    for approvers, user, groups, included in [
        (run, "carol@main", [], True),
        (run, "carol@devbox", [], False),
        (run, "carol@devbox@main", [], False),
        (run, "dave@devbox", [], True),
        (run, "dave@main", [], False),
        (run, "eve@corp.example@main", [], True),
        (run, "eve@corp.example@devbox", [], False),
        (run, "bob@main", ["leads"], True),
        (run, "bob@devbox", ["leads"], False),
        (script, "carol@main", [], True),
        (script, "carol@devbox", [], False),
    ]:
        identity = Identity.parse(user)
        assert identity is not None
        assert approvers.include(identity, groups) is included, user


RULE = "default: deny\nrules:\n  - allow: core:run\n"


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("    approval: 5\n", "4: rules.0.approval: must be a mapping with the keys users, groups"),
        ("    approval: {}\n", "4: rules.0.approval: must name the 'users' or 'groups' who"),
        ("    approval: {users: []}\n", "4: rules.0.approval.users: must be a name or a list of"),
        ("    approval:\n      user: carol\n", "5: rules.0.approval.user: is not a known key; the"),
        ("    approval: {notify: 'https://x.org/'}\n", "4: rules.0.approval: must name the"),
        (
            "    users: carol\n    approval: {users: carol}\n",
            "3: rules.0: nobody could approve: 'approval' names only the user who asks",
        ),
        (
            "  - deny: core:script\n    approval: {users: carol}\n",
            "4: rules.1: must have 'allow' if it has 'approval'",
        ),
        (
            "  - allow: '*'\n    approval: {users: carol}\n",
            "5: rules.1.approval: the rule also allows files:write, which is no task",
        ),
    ],
)
def test_fault_of_an_approval_is_reported_with_its_line(
    tmp_path: Path, rest: str, said: str
) -> None:
    with pytest.raises(InvalidSettings) as refused:
        policy(tmp_path, RULE + rest).check_approvals(["files:write"])
    file = tmp_path / "policy.yml"
    assert refused.value.message.startswith(f"POLICY_FILE: {file}:{said}"), refused.value.message


def test_several_clusters_and_hosts_are_checked_at_start(tmp_path: Path) -> None:
    text = RULE + "    users: bob@main\n    approval: {users: carol}\n"
    with pytest.raises(InvalidSettings, match="'carol' names none of the 2 clusters"):
        policy(tmp_path, text, "main", "devbox")
    loaded = policy(tmp_path, FILE)
    loaded.check_hosts(WebhookHosts("chat.example.org"))
    with pytest.raises(InvalidSettings, match=r"9: rules\.0\.approval\.notify: chat\.example\.org"):
        loaded.check_hosts(WebhookHosts("other.example.org"))
    with pytest.raises(InvalidSettings, match="notify: webhooks are off"):
        loaded.check_hosts(WebhookHosts(""))


NAME = st.text("ab*?[].-é", min_size=1, max_size=8)
CLUSTERS = ("a", "b")


@given(names=st.lists(NAME, min_size=1, max_size=4), user=NAME)
def test_no_plain_name_of_a_rule_for_one_cluster_admits_a_user_of_another(
    names: list[str], user: str
) -> None:
    users = ApprovalEntry(users=(*names, "carol"), groups=(*names, "leads"))
    approvers = Approvers(users, ["a"], CLUSTERS)
    for name, groups in ((user, [user]), ("carol", ["leads"]), ("carol@a", [])):
        assert not approvers.include(Identity(name, "b"), groups)
    assert approvers.include(Identity("carol", "a"), None)
    assert approvers.include(Identity("x", "a"), ["leads"])
