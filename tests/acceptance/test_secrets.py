"""Secrets are found nowhere afterwards: send them on every possible path, then search."""

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import ACCOUNTS
from tests.acceptance.secrecy import is_in, monitor_redis, places_of, processes_that_show
from tests.acceptance.test_batches import get_batch, launch_batch
from tests.acceptance.test_faults import HOOK_SECRET
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Distributed, Service, cluster_settings, failure
from tests.support.services import MariaDB, eventually
from tests.support.webhook_receiver import WebhookReceiver

Places = Callable[..., list[str]]


def marker() -> str:
    return f"marker-{secrets.token_hex(12)}"


@pytest.fixture
def places(service: Service, request: pytest.FixtureRequest) -> Places:
    """Return a function that searches all stored data: Redis, database files, logs."""
    folders: list[Path] = []
    if isinstance(service, Distributed):
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        folders.append(mariadb.folder)
    return lambda *texts: places_of(texts, service, *folders)


def test_the_search_finds_texts_that_are_not_secret(
    alice: Caller, service: Service, places: Places
) -> None:
    shown, name = marker(), marker()
    caller = service.caller(alice.token)
    caller.http.headers["X-Request-Id"] = name
    task = caller.run(f"sleep 0.2; echo {shown}").json()["task"]
    kept = {Path(place).name for place in places(shown)}
    assert kept & {"resop.db", "resop.db-wal", "task.ibd", "step.ibd", "ib_logfile0"}
    assert any(place.endswith(".log") for place in places(name))
    assert any("aof" in place for place in places(task))  # in the base64 of a message
    alice.begin("core/opn/run", {"command": f"sh -c 'sleep 0.5; :' {shown}"})
    assert eventually(lambda: processes_that_show(shown))


def test_secret_of_a_command_is_in_no_process_list_while_it_runs(
    alice: Caller, ssh: OpenSSH, places: Places
) -> None:
    secret = marker()
    pipe = ssh.home("alice") / f"pipe-{secrets.token_hex(4)}"
    os.mkfifo(pipe)
    os.chown(pipe, ssh.uid("alice"), ssh.uid("alice"))
    options = {"words": ["nothing"], "hidden_word": secret, "input": [pipe.name]}
    task = alice.begin("template/cmd/search", options)
    assert eventually(lambda: any("grep" in each for each in ssh.processes("alice")))
    assert processes_that_show(secret) == []
    assert alice.task(task)["options"]["hidden_word"] == "********"
    pipe.write_text(f"a\nwith {secret} in it\n")  # grep has opened the pipe and waits
    ended = alice.task(task, wait=20)
    assert (ended["state"], ended["output"]) == ("succeeded", "2:with ******** in it\n")
    assert secret not in str(ended) and places(secret) == []


def test_secret_is_found_nowhere_for_every_outcome_of_its_task(
    alice: Caller, service: Service, places: Places
) -> None:
    secret = marker()
    answers = []

    def send(action: str, status: int, options: dict[str, Any], **how: Any) -> None:
        answer = alice.post(action, options, **how)
        assert answer.status_code == status, answer.text
        answers.append(answer.text)

    def whisper(status: int, line: str, **query: Any) -> None:
        send("mysite/opn/whisper", status, {"line": line, "secret": secret}, query=query)

    whisper(200, "cat")
    whisper(200, "cat | rev | rev | sed 's/^/\"/'", dry_run="false")
    whisper(424, "cat >&2; exit 3")
    whisper(504, "cat; sleep 60", timeout=0.3)
    whisper(200, "cat", dry_run="true")
    whisper(422, "cat", timeout=-1)
    send("mysite/opn/blunder", 500, {"secret": secret})
    send("mysite/opn/blunder", 422, {"secret": secret, "other": 1})
    send("mysite/opn/blunder", 422, {"secret": [secret]})
    send("mysite/opn/blundr", 404, {"secret": secret})
    send("template/opn/hello", 200, {"names": ["ada"], "password": secret})
    send("template/cmd/search", 424, {"words": ["x"], "hidden_word": secret, "input": ["/no"]})
    send("template/cmd/search", 422, {"hidden_word": secret})
    send("mysite/opn/whisper", 202, {"line": "cat", "secret": secret}, prefer="respond-async")
    form = {"line": "cat", "secret": secret}
    answers.append(alice.http.post("/mysite/opn/whisper", data=form).text)
    for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json"):
        headers = {"Content-Type": kind}
        broken = f"secret={secret}&{secret}"
        failed = alice.http.post("/mysite/opn/whisper", content=broken, headers=headers)
        answers.append(str(failure(failed, 415 if kind == "text/plain" else 422)))

    for line in ("cat", "cat; exit 1", "cat"):
        answers.append(
            alice.http.post(
                "/mysite/opn/whisper",
                json={"line": line, "secret": secret},
                headers={"Idempotency-Key": "a whisper"},
            ).text
        )

    tasks = alice.http.get("/tasks").json()["tasks"]
    answers += [alice.http.get(f"/tasks/{each['task']}/events").text for each in tasks[:5]]
    answers += [alice.http.get(f"/tasks/{each['task']}?wait=10").text for each in tasks]
    answers += [str(tasks)]
    assert [text for text in answers if secret in text] == []
    assert any("********" in text for text in answers)
    assert places(secret) == []


def test_password_and_one_time_code_of_a_login_are_found_nowhere(
    service: Service, places: Places
) -> None:
    wrong, code = marker(), marker()
    caller = service.caller()
    for options in (
        {"username": "bob", "password": wrong, "otp": code},
        {"username": "bob", "password": wrong, "cluster": "none"},
        {"username": "bob", "password": [wrong]},
        {"username": "bob\x00", "password": wrong},
    ):
        answer = caller.post("auth/opn/login", options)
        assert answer.status_code in (401, 422)
        assert wrong not in answer.text and code not in answer.text
    logged_in = service.log_in(ACCOUNTS["bob"])
    assert logged_in.run("true").status_code == 200
    logged_in.post("auth/opn/logout")
    token = logged_in.token
    assert places(wrong, code, ACCOUNTS["bob"].password, token, token[-40:]) == []


@pytest.fixture
def talkative(
    tmp_path: Path, folder: Path, ssh: OpenSSH, operators: Path, mariadb: MariaDB
) -> Iterator[tuple[Distributed, WebhookReceiver]]:
    """Start a service with workers that log everything, and a receiver of its webhooks."""
    with WebhookReceiver(tmp_path) as hook:
        settings = {
            **cluster_settings(ssh),
            "OPERATORS_PATH": operators,
            "LOG_LEVEL": "DEBUG",
            "NOTIFY_HOSTS": f"localhost:{hook.port}",
            "NOTIFY_SECRET": HOOK_SECRET,
            "NOTIFY_PRIVATE": True,
        }
        worker = [sys.executable, "-m", "tests.acceptance.talkative_worker"]
        worker = ["env", f"SSL_CERT_FILE={hook.authority}", *worker]
        database = mariadb.database("talkative")
        with Distributed(folder / "talkative", settings, database, worker) as service:
            yield service, hook


def test_secret_is_in_no_redis_traffic_webhook_or_crash_dump(
    talkative: tuple[Distributed, WebhookReceiver], ssh: OpenSSH, mariadb: MariaDB
) -> None:
    service, hook = talkative
    secret, name, number = marker(), marker(), f"{secrets.randbelow(10**9)}.5"
    with monitor_redis(service) as redis_traffic:
        alice = service.log_in(ACCOUNTS["alice"])
        query = {"notify": hook.address, "tag": name}
        options = {"line": "cat | rev | rev", "secret": secret}
        headers = {"Idempotency-Key": name}
        for _ in range(2):  # the second request returns the first one's task
            answer = alice.http.post(
                "/mysite/opn/whisper", json=options, headers=headers, params=query
            )
            assert answer.status_code == 200 and "********" in answer.text
        assert failure(
            alice.http.post(
                "/mysite/opn/whisper", json={**options, "line": "exit 3"}, headers=headers
            ),
            422,
        )
        form = {"line": "cat >&2; exit 3", "secret": secret}
        assert alice.http.post("/mysite/opn/whisper", data=form, params=query).status_code == 424
        assert alice.post("mysite/opn/blunder", {"secret": secret}, query=query).status_code == 500
        items = [{"line": "cat", "secret": f"{secret}-{each}"} for each in range(3)]
        batch = launch_batch(alice, {"items": items}, "mysite/opn/whisper")
        assert get_batch(alice, batch, wait=30)["counts"]["succeeded"] == 3
        assert eventually(lambda: len(hook.received) >= 3)

        options = {"line": f"cat; exec sleep {number}", "secret": secret}
        task = alice.begin("mysite/opn/whisper", options)
        assert eventually(lambda: any(number in each for each in ssh.processes("alice")))
        assert processes_that_show(secret) == []
        for worker in service.workers:
            worker.send(signal.SIGABRT)
            # faulthandler reads the frames of running threads, which may crash it.
            assert worker.wait() in (-signal.SIGABRT, -signal.SIGSEGV)
        service.workers.clear()

        assert is_in(redis_traffic(), task) and is_in(redis_traffic(), "task-received")
        assert not is_in(redis_traffic(), secret)
    for each in hook.received:
        each.check_signature(HOOK_SECRET)
        assert not is_in(each.body + str(each.headers).encode(), secret)
    log = service.log()
    assert "Fatal Python error: Aborted" in log and "TaskPool: Apply" in log
    assert places_of([secret], service, mariadb.folder) == []
