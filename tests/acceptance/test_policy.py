"""A policy on a running service: checked by every API process, and again by the worker."""

import re
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import ACCOUNTS, POLICY
from tests.support.service import Caller, Distributed, failure, run_resop, write_config

ALICE_MAY_NOT = "policy.yml:5: denies core:run to the user alice@hpc"


@pytest.fixture(scope="module")
def alice(guarded: Distributed) -> Caller:
    return guarded.log_in(ACCOUNTS["alice"])


@pytest.fixture(scope="module")
def bob(guarded: Distributed) -> Caller:
    return guarded.log_in(ACCOUNTS["bob"])


def test_forbidden_action_is_refused_with_the_rule_and_leaves_no_task(
    alice: Caller, bob: Caller
) -> None:
    for wrong in ({"command": "id"}, {"comand": 1}):  # the policy is checked before the options
        error = failure(alice.post("core/opn/run", wrong), 403)
        assert (error["type"], error["message"]) == ("Forbidden", ALICE_MAY_NOT)
        assert (error["rule"], error["retryable"]) == ("policy.yml:5", False)
    failure(alice.run("id", query={"dry_run": "true"}), 403)
    failure(alice.http.post("/core/opn/run/batch", json={"items": [{"command": "id"}]}), 403)
    assert alice.http.get("/tasks").json()["tasks"] == []
    assert alice.http.get("/core/opn/run").status_code == 200  # its description remains available
    assert alice.post("utils/cmd/id").status_code == 200
    assert bob.run("id").status_code == 200


def test_policy_can_allow_reading_files_and_deny_writing(bob: Caller) -> None:
    error = failure(bob.http.put("/files/new", content=b"x"), 403)
    assert error["message"] == "policy.yml:12: denies files:write to the user bob@hpc"
    assert bob.http.get("/files//etc/hostname").status_code == 200


@pytest.mark.parametrize("name", ["bob", "tina"])  # with login shells bash and tcsh
def test_groups_are_those_of_the_user_on_the_cluster(guarded: Distributed, name: str) -> None:
    caller = guarded.log_in(ACCOUNTS[name])
    error = failure(caller.post("core/opn/script", {"script": "#!/bin/sh\nid\n"}), 403)
    said = "policy.yml:7: denies core:script to the group tina@hpc or the group bob@hpc"
    assert error["message"] == said


def test_worker_refuses_a_task_that_an_api_with_another_policy_accepted(
    guarded: Distributed, alice: Caller
) -> None:
    with guarded.additional_api(POLICY_FILE="") as lax:
        answer = guarded.caller(alice.token, lax).run("id")
    error = failure(answer, 403)
    assert (error["type"], error["message"]) == ("Forbidden", ALICE_MAY_NOT)
    task = alice.task(answer.json()["task"])
    assert (task["state"], task["steps"], task["output"]) == ("failed", [], None)


def test_login_without_known_groups_is_denied_by_group_rules(
    guarded: Distributed,
) -> None:
    with guarded.additional_api(POLICY_FILE="") as lax:
        early = guarded.log_in(ACCOUNTS["bob"], lax)
    answer = guarded.caller(early.token).post("core/opn/script", {"script": "#!/bin/sh\n"})
    assert "log in again" in failure(answer, 403)["message"]


def test_rate_limit_is_shared_by_all_api_processes(guarded: Distributed, bob: Caller) -> None:
    each = [bob, guarded.caller(bob.token, 1)]
    answers: list[httpx.Response] = []
    while len(answers) < 8:  # a new minute may begin meanwhile
        answers.append(each[len(answers) % 2].post("utils/cmd/echo", {"input": "x"}))
        if answers[-1].status_code == 429:
            break
    assert len(answers) >= 4 and all(one.status_code == 200 for one in answers[:-1])
    error = failure(answers[-1], 429)
    assert (error["type"], error["rule"]) == ("LimitReached", "policy.yml:9")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert bob.post("utils/cmd/id").status_code == 200


def test_setting_is_hidden_from_operators_not_listed(bob: Caller) -> None:
    error = failure(bob.post("ldap/opn/find_user", {"username": "ada"}), 403)
    assert error["type"] == "Forbidden"
    assert (
        error["message"] == "policy.yml:3: the operator ldap may not read the setting LDAP_PEOPLE"
    )


def test_pages_do_not_offer_forbidden_actions(guarded: Distributed, alice: Caller) -> None:
    cookies = {"resop": alice.token}
    address = f"http://127.0.0.1:{guarded.ports[0]}"
    with httpx.Client(base_url=address, cookies=cookies, trust_env=False) as browser:
        index = browser.get("/pages/").text
        assert "/core/opn/script/submit" in index and "/core/opn/run/submit" not in index
        for method in ("GET", "POST"):
            answer = browser.request(method, "/core/opn/run/submit")
            assert answer.status_code == 403 and ALICE_MAY_NOT in answer.text
            assert not re.search("<form[^>]*method", answer.text.partition("<main")[2])


def test_policy_check_explains_a_decision_by_rule_and_line(tmp_path: Path) -> None:
    file = tmp_path / "policy.yml"
    file.write_text(POLICY)
    write_config(tmp_path, {"POLICY_FILE": file, "CLUSTER_NAME": "hpc", "CLUSTER_ADDRESS": "x"})
    told = run_resop(tmp_path, "policy", "check", "carol", "core:script", "--group", "bob")
    said = "denied: policy.yml:7: denies core:script to the group tina@hpc or the group bob@hpc\n"
    assert (told.returncode, told.stdout) == (1, said)
    told = run_resop(tmp_path, "policy", "check", "carol", "core:script")
    said = "allowed: policy.yml: no rule applies to core:script and carol; the default is 'allow'\n"
    assert (told.returncode, told.stdout) == (0, said)
    file.write_text(POLICY.replace("core:run", "core:rum"))
    told = run_resop(tmp_path, "check")
    said = (
        f"resop: POLICY_FILE: {file}:5: rules.0.deny: 'core:rum' matches nothing on this service\n"
    )
    assert (told.returncode, told.stderr) == (1, said)
