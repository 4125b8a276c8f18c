"""A fuzzer for the whole OpenAPI document, and hostile strings on a real login node.

There must be no 500, every answer must be as declared, and every fault must name its field. No
shell may ever parse a hostile string.
"""

import contextlib
import secrets
from typing import Any
from urllib.parse import quote

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation

from tests.acceptance.conftest import ACCOUNTS, only_embedded
from tests.acceptance.test_batches import get_batch, launch_batch
from tests.acceptance.test_openapi import document
from tests.support.corpus import hurtful
from tests.support.openapi import parameters
from tests.support.openssh import OpenSSH
from tests.support.service import Service

__all__ = ["document"]
pytestmark = only_embedded

EXAMPLES = 2
POSITIVE = [GenerationMode.POSITIVE]
LOGINS = ("/auth/opn/login", "/auth/opn/login_token")
LOGIN_EXAMPLES = 2
"""Examples of a login: few, because failed logins are limited."""


@schemathesis.serializer("application/x-tar", "application/zip", "application/gzip")
def packed(_: Any, value: Any) -> Any:
    return value


class Fuzzer:
    """Sends generated requests that cannot cause harm, and collects faults of the answers."""

    def __init__(self, service: Service, document: Any) -> None:
        self.document = document
        self.address = f"http://127.0.0.1:{service.ports[0]}"
        self.fiona = service.log_in(ACCOUNTS["fiona"])
        # For requests that end logins, all of that user's at once.
        self.logout_caller = service.log_in(ACCOUNTS["tina"])
        batch = launch_batch(self.fiona, {"items": [{"command": "true"}]})
        assert get_batch(self.fiona, batch, wait=20)["state"] == "ended"
        self.own = {"task_id": self.fiona.run("true").json()["task"], "batch_id": batch}
        self.own |= {"operator": "utils", "kind": "cmd", "action": "echo"}
        self.http = requests.Session()
        self.http.trust_env = False
        # Generating a request takes longer than a connection stays open.
        self.http.headers["Connection"] = "close"
        self.faults: list[str] = []
        self.sent = 0

    def run(self, operation: APIOperation[Any, Any, Any, Any], declared: dict[str, Any]) -> None:
        """Send some requests that match the document, and some that do not."""
        count = LOGIN_EXAMPLES if operation.path in LOGINS else EXAMPLES
        configure = settings(
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        modes = (
            list(GenerationMode) if declared.keys() & {"parameters", "requestBody"} else POSITIVE
        )
        for mode in modes:
            test = given(operation.as_strategy(generation_mode=mode))(
                lambda case: self.send(case, declared)
            )
            with contextlib.suppress(Unsatisfiable):  # without parameters nothing can be invalid
                configure(test)()

    def send(self, case: Case[Any], declared: dict[str, Any]) -> None:
        self.sent += 1
        path = case.operation.path
        ends_logins = path == "/auth/opn/logout" or path.startswith("/logins")
        caller = self.logout_caller if ends_logins else self.fiona
        headers = {"Authorization": f"Bearer {caller.token}"} if path not in LOGINS else {}
        if self.sent % 4:  # otherwise with the generated ones
            case.path_parameters = {
                name: self.own.get(name, value) for name, value in case.path_parameters.items()
            }
        names = {each["name"] for each in parameters(self.document, declared)}
        if "dry_run" in names and case.query is not None:
            case.query["dry_run"] = "true"
            if self.sent % 2:
                case.query.pop("notify", None)
        kwargs = case.as_transport_kwargs(base_url=self.address)
        kwargs["headers"] = {**kwargs.get("headers", {}), **headers}
        with contextlib.suppress(requests.exceptions.InvalidHeader, UnicodeError):
            self.check(case, declared, self.http.request(**kwargs, timeout=60))

    def check(self, case: Case[Any], declared: dict[str, Any], answer: requests.Response) -> None:
        status = answer.status_code
        summary = f"{case.operation.label}: {status} {answer.text[:300]!r}"
        summary += f" {case.query} {case.body!r:.200} {case.path_parameters}"
        if status >= 500:
            self.faults.append(f"server error: {summary}")
        elif not {str(status), "default"} & set(declared["responses"]):
            self.faults.append(f"undeclared status: {summary}")
        elif status >= 400 and case.method != "HEAD":
            error = answer.json()["error"]
            if error["type"] == "InvalidOptions" and not all(
                "field" in fault for fault in error["faults"]
            ):
                self.faults.append(f"no field named: {summary}")
            if answer.json()["success"] is not False or not error["message"]:
                self.faults.append(f"wrong shape of an error: {summary}")
        else:
            try:
                case.operation.validate_response(answer)
            except Exception as fault:
                self.faults.append(f"undeclared answer: {summary}: {fault}")


# Hypothesis warns when another thread of the tests uses the random module.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.timeout(600)  # most of the time is spent generating requests
def test_generated_requests_are_answered_as_declared(service: Service, document: Any) -> None:
    fuzzer = Fuzzer(service, document)
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]
        fuzzer.run(operation, document["paths"][operation.path][operation.method])
    assert fuzzer.faults == []
    assert fuzzer.sent > 500


@pytest.mark.parametrize("name", ["alice", "tina", "fiona"])  # with bash, tcsh and fish
def test_hostile_string_reaches_no_shell_of_the_login_node(
    service: Service, ssh: OpenSSH, name: str
) -> None:
    caller, made = service.log_in(ACCOUNTS[name]), f"made-{secrets.token_hex(6)}"
    texts = hurtful(made)
    shown = caller.post("utils/cmd/echo", {"input": texts}).json()["output"]
    assert shown == " ".join(texts) + "\n"
    argued = caller.post("core/opn/script", {"script": "#!/bin/sh\necho $#", "arguments": texts})
    assert argued.json()["output"]["stdout"] == f"{len(texts)}\n", argued.text
    for text in texts:
        path = f"hostile-{made}/{text.replace('/', '_')}"
        asked: list[tuple[str, dict[str, Any]]] = [
            ("utils/cmd/mkdir", {"input": [path], "parents": True}),
            ("utils/cmd/ls", {"input": [path]}),
            ("utils/opn/list_folder", {"path": path}),
            ("utils/opn/disk_usage", {"path": path}),
            ("core/opn/send_file", {"path": f"{path}/x", "content": text}),
            ("core/opn/get_file", {"path": f"{path}/x"}),
            ("core/opn/get_folder", {"path": path}),
            ("utils/cmd/stat", {"input": [path]}),
        ]
        for action, options in asked:
            answer = caller.post(action, options)
            assert answer.status_code == 200, (action, text, answer.text)
        quoted = quote(path, safe="")
        assert caller.http.get(f"/files/{quoted}%2Fx").text == text
        assert caller.http.get(f"/folders/{quoted}").status_code == 200
    left = {each.name for each in ssh.home(name).iterdir()}
    assert f"hostile-{made}" in left and made not in left
    removed = {"input": [f"hostile-{made}"], "recursive": True}
    assert caller.post("utils/cmd/rm", removed).status_code == 200
