"""Run the calls of docs/migration.md against the service, and an operator of the old form."""

import json
import subprocess
from pathlib import Path

from tests.acceptance.conftest import ACCOUNTS, only_embedded
from tests.support.migration_page import calls
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Service, failure, run_resop, write_config

SCRIPT = """\
set -e
curl() { echo; command curl -sS --fail-with-body "$@"; }
%s
"""


@only_embedded
def test_calls_of_the_page_are_answered(service: Service, ssh: OpenSSH) -> None:
    alice = ACCOUNTS["alice"]
    (ssh.home("alice") / "more.txt").write_text("before\n")
    lines = calls().splitlines()
    token = lines[0].replace("$(curl", "$(command curl")
    done = subprocess.run(
        ["bash", "-c", SCRIPT % "\n".join([token, *lines[1:]])],
        env={
            "PATH": "/usr/bin:/bin",
            "RESOP": str(service.caller().http.base_url).rstrip("/"),
            "NAME": alice.name,
            "PASSWORD": alice.password,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    answers = [json.loads(each) for each in done.stdout.splitlines() if each]
    assert len(answers) == sum(line.startswith("curl") for line in lines)
    outputs = {
        answer.get("operation", answer.get("command")): answer.get("output") for answer in answers
    }
    assert outputs["hpcuser:createUser"] == "value1 will have an account tomorrow"
    account = (ssh.home("alice") / "value1.account").read_text()
    assert account.startswith("value1:$6$")
    assert outputs["core:run"]["stdout"].strip().isdigit()
    assert outputs["utils:temp_file"].startswith("/")
    assert outputs["core:get_file"]["content"] == "42"
    assert (ssh.home("alice") / "more.txt").read_text() == "42"
    assert (ssh.home("alice") / "more.txt~").read_text() == "before\n"
    assert not (ssh.home("alice") / "notes.txt").exists()
    assert outputs["linux_user:hash_md5"].startswith("\\$1\\$")
    assert outputs["ldap:passwd"] == "{SSHA}+RFhsab2AfzZ0VfEdyknXtUT06RhYmNk"
    assert outputs["ldap:extract_salt"] == "YWJjZA=="


@only_embedded
def test_flags_of_an_operator_of_the_old_form(alice: Caller) -> None:
    """Send a flag in each way to commands whose options have no type."""
    for options, line in [
        ({"all": ""}, "ls -a"),
        ({"all": "true", "width": "3"}, "ls -a -w 3"),
        ({"all": "false"}, "ls"),
        ({"one-per-line": ""}, "ls -1"),
        ({"one_per_line": "", "input": "a 'b c'"}, "ls -1 a 'b c'"),
    ]:
        path = "/old-site/cmd/ls?dry_run"
        for answer in (
            alice.http.post(path, data=options),
            alice.http.post(path, json=options),
        ):
            assert answer.status_code == 200, answer.text
            assert answer.json()["command"] == line
    refused = alice.http.post(
        "/old-site/cmd/ls",
        content="all",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert "a flag without a value is NAME=" in failure(refused, 422)["message"]
    whole = json.dumps({"token": alice.token})
    refused = alice.http.get("/operators", headers={"Authorization": f"Bearer {whole}"})
    assert "send only its 'token'" in failure(refused, 401)["message"]


def test_check_names_what_of_the_old_folders_is_used(folder: Path) -> None:
    old = folder / "old/operators/linux-user"
    (old / "operations").mkdir(parents=True)
    (old / "operations/createUser.js").write_text("export default opn;\n")
    (old / "commands.yml").write_text("- command: useradd\n  options:\n    home:\n      flag: -m\n")
    settings = {
        "OPERATORS_PATH": old.parent,
        "CLUSTER_ADDRESS": "127.0.0.1",
        "DATA_DIR": folder / "old/data",
    }
    write_config(folder / "old", settings)
    done = run_resop(folder / "old", "check")
    assert done.returncode == 0, done.stderr
    assert (
        f"note: {old} extends the shipped operator linux_user: replaces cmd/useradd\n"
        in done.stderr
    )
    assert (
        "createUser.js: JavaScript is not run: /linux_user/opn/create_user answers" in done.stderr
    )
    assert f", extended by {old})\n" in done.stdout
