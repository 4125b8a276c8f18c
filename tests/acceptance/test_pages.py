"""The pages over HTTP: logins, forms and all their faults."""

import csv
import html
import io
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from resop.security.encryption import Encryptor
from tests.acceptance.conftest import ACCOUNTS, only_embedded
from tests.acceptance.secrecy import places_of
from tests.support.service import Caller, Service, failure
from tests.support.services import eventually

pytestmark = only_embedded
LOGIN = "/auth/opn/login/submit"
LOGOUT = "/auth/opn/logout/submit"
RUN = "/core/opn/run/submit"
BAD = "<script>alert('x')</script>"


class Visitor:
    """A minimal browser: it sends forms and stores cookies, but follows no redirects."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=60, trust_env=False)

    def get(self, path: str, status: int = 200) -> str:
        """Get a page and return its HTML."""
        return self._page(self.http.get(path), status)

    def send(self, path: str, status: int = 200, **fields: str | list[str]) -> str:
        """Fill in and send the form of an address; return the HTML of the answer."""
        answer = self.post(path, **fields)
        if status == 200 and answer.status_code == 303:
            return self.get(answer.headers["location"])
        return self._page(answer, status)

    def post(self, path: str, **fields: str | list[str]) -> httpx.Response:
        """Fill in and send the form of an address; return the answer."""
        hidden = dict(re.findall(r'name="(:guard|:key)" value="([^"]+)"', self.http.get(path).text))
        named = {name.replace("__", ":"): value for name, value in fields.items()}
        return self.http.post(path, data={":guard": "", **hidden, **named})

    def log_in(self, name: str = "alice") -> None:
        """Log in with the right password."""
        answer = self.post(LOGIN, username=name, password=ACCOUNTS[name].password)
        assert (answer.status_code, answer.headers["location"]) == (303, "/pages/"), answer.text

    def _page(self, answer: httpx.Response, status: int) -> str:
        assert answer.status_code == status, f"{answer.status_code}: {answer.text[:1000]}"
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "<script" not in answer.text and "Traceback" not in answer.text
        return answer.text


@pytest.fixture
def visitor(service: Service) -> Iterator[Visitor]:
    """Create a visitor who is not logged in."""
    made = Visitor(f"http://127.0.0.1:{service.ports[0]}")
    yield made
    made.http.close()


@pytest.fixture(scope="module")
def admin(service: Service) -> Iterator[Visitor]:
    """Create a visitor logged in as alice."""
    made = Visitor(f"http://127.0.0.1:{service.ports[0]}")
    made.log_in()
    yield made
    made.http.close()


def text_of(page: str) -> str:
    """Return the visible text of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.partition("<body>")[2])).split())


def test_browser_is_redirected_from_the_root_to_the_login(visitor: Visitor) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    root = visitor.http.get("/", headers=browser)
    assert (root.status_code, root.headers["location"]) == (303, "/pages/")
    index = visitor.http.get("/pages/", headers=browser)
    assert (index.status_code, index.headers["location"]) == (303, f"{LOGIN}?next=%2Fpages%2F")
    assert "username" in visitor.get(LOGIN)
    visitor.log_in()
    shown = visitor.get("/pages/")
    assert 'href="/core/opn/run/submit"' in shown and "alice on hpc" in text_of(shown)
    assert "auth/opn/login" not in shown


def test_other_clients_get_json(visitor: Visitor) -> None:
    visitor.log_in()
    for accept in ("*/*", "application/json"):
        assert visitor.http.get("/", headers={"Accept": accept}).json()["service"] == "resop"
    for path in ("/operators", "/core", "/core/opn/run", "/tasks"):  # the API ignores the cookie
        answer = visitor.http.get(path, headers={"Accept": "text/html"})
        assert failure(answer, 401)["type"] == "NotLoggedIn"
    answer = visitor.http.post("/core/opn/run", data={"command": "id"})
    assert failure(answer, 401)["type"] == "NotLoggedIn"


def test_login_cookie_is_hidden_from_scripts_and_other_sites(visitor: Visitor) -> None:
    visitor.get(LOGIN)
    before = visitor.http.cookies["resop"]
    answer = visitor.post(LOGIN, username="alice", password=ACCOUNTS["alice"].password)
    [cookie] = answer.headers.get_list("set-cookie")
    assert re.search(r"; HttpOnly; Max-Age=\d+; Path=/; SameSite=lax", cookie)
    assert visitor.http.cookies["resop"] != before
    assert ACCOUNTS["alice"].password not in cookie


def test_cookie_is_secure_with_https(service: Service) -> None:
    behind_a_proxy = {"X-Forwarded-Proto": "https"}
    address = f"http://127.0.0.1:{service.ports[0]}"
    answer = httpx.get(address + LOGIN, headers=behind_a_proxy, trust_env=False)
    assert answer.headers["set-cookie"].startswith("__Host-resop=")
    assert "; Secure" in answer.headers["set-cookie"]


def test_wrong_password_is_reported_and_the_name_stays_in_the_form(visitor: Visitor) -> None:
    password = f"wrong-{secrets.token_hex(8)}"
    shown = visitor.send(LOGIN, 401, username="bob", password=password)
    assert "refused this user name and password" in shown
    assert 'value="bob"' in shown and password not in shown
    assert "set-cookie" not in visitor.http.get("/pages/").headers


def test_login_continues_to_the_requested_page_but_to_no_other_site(
    visitor: Visitor,
) -> None:
    asked = visitor.http.get("/pages/tasks?state=failed")
    login = asked.headers["location"]
    assert login == f"{LOGIN}?next=%2Fpages%2Ftasks%3Fstate%3Dfailed"
    right = {"username": "alice", "password": ACCOUNTS["alice"].password}
    assert visitor.post(login, **right).headers["location"] == "/pages/tasks?state=failed"
    for elsewhere in ("//evil.example", "https://evil.example", "/%5Cevil.example", "%09//x"):
        answer = visitor.post(f"{LOGIN}?next={elsewhere}", **right)
        assert answer.headers["location"] == "/pages/"


@pytest.mark.parametrize("guard", ["", "0" * 64, "é"])
def test_forged_form_does_nothing(
    visitor: Visitor, admin: Visitor, alice: Caller, guard: str
) -> None:
    right = {"username": "alice", "password": ACCOUNTS["alice"].password, ":guard": guard}
    visitor.get(LOGIN)
    answer = visitor.http.post(LOGIN, data=right)
    assert answer.status_code == 403 and "location" not in answer.headers
    assert "set-cookie" not in answer.headers

    before = alice.newest("task")
    answer = admin.http.post(RUN, data={"command": "id -u", ":guard": guard})
    assert answer.status_code == 403 and "does not belong to your current login" in answer.text
    assert 'value="id -u"' in answer.text  # so that the user can check it and send it again
    assert alice.newest("task") == before
    assert admin.http.post(LOGOUT, data={":guard": guard}).status_code == 403
    admin.get("/pages/")


def test_form_without_a_cookie_leads_to_the_login(visitor: Visitor) -> None:
    answer = visitor.http.post(RUN, data={"command": "id"})
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{LOGIN}?next=%2Fcore%2Fopn%2Frun%2Fsubmit"


@pytest.mark.parametrize("cookie", ["nonsense", "é".encode().decode("latin-1"), "x" * 5000, ""])
def test_invalid_cookie_leads_to_the_login(service: Service, cookie: str) -> None:
    address = f"http://127.0.0.1:{service.ports[0]}"
    for path in ("/pages/", "/pages/tasks", "/pages/tasks/x", RUN, LOGOUT, "/no/opn/thing/submit"):
        shown = {b"Cookie": f"resop={cookie}".encode("latin-1")}
        answer = httpx.get(address + path, headers=shown, trust_env=False)
        assert answer.status_code == 303 and answer.headers["location"].startswith(LOGIN)


def test_expired_login_leads_to_the_login(
    visitor: Visitor, service: Service, alice: Caller
) -> None:
    encryptor = Encryptor(service.settings.secret_key())
    over = encryptor.issue_token(replace(encryptor.read_token(alice.token), expires=1))
    visitor.http.cookies["resop"] = over
    answer = visitor.http.get("/pages/tasks")
    assert answer.headers["location"] == f"{LOGIN}?next=%2Fpages%2Ftasks"
    assert "username" in visitor.get(LOGIN)


def test_logout_ends_the_login_everywhere(visitor: Visitor, service: Service) -> None:
    visitor.log_in("bob")
    cookie = visitor.http.cookies["resop"]
    assert service.caller(cookie).http.get("/tasks").status_code == 200
    answer = visitor.post(LOGOUT)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{LOGIN}?left=all")
    assert "You have been logged out" in visitor.get(f"{LOGIN}?left=all")
    assert visitor.http.cookies["resop"] != cookie
    assert visitor.http.get("/pages/").status_code == 303
    assert failure(service.caller(cookie).http.get("/tasks"), 401)["type"] == "TokenRefused"


def test_tasks_continue_after_a_logout(visitor: Visitor, service: Service) -> None:
    visitor.log_in("bob")
    caller = service.caller(visitor.http.cookies["resop"])
    task = caller.begin("core/opn/run", {"command": "sleep 600"})
    [keep] = re.findall(r'name="keep_running" value="([^"]*)"', visitor.get("/pages/"))
    answer = visitor.post(LOGOUT, keep_running=keep)
    assert answer.headers["location"] == f"{LOGIN}?left=tasks"
    assert "Your tasks continue" in visitor.get(f"{LOGIN}?left=tasks")
    again = service.log_in(ACCOUNTS["bob"])
    assert again.task(task)["state"] in ("queued", "running")
    again.http.delete(f"/tasks/{task}", params={"wait": 20})


def test_form_has_a_field_for_each_option(admin: Visitor) -> None:
    shown = admin.get("/template/opn/hello/submit")
    assert re.search(r'<textarea [^>]*name="names"[^>]*placeholder="e.g. ada\ngrace"', shown)
    assert re.search(r'<input type="text" value="Hello" [^>]*name="greeting"', shown)
    assert re.search(r'<input type="password" [^>]*name="password"', shown)
    assert re.search(r'<input type="checkbox" value="true" [^>]*name="signed"', shown)
    for name in re.findall(r'<(?:input|select|textarea)[^>]* id="([^"]+)"', shown):
        described = re.search(rf'id="{name}"[^>]*aria-describedby="([^"]+)"', shown)
        assert f'for="{name}"' in shown or re.search(rf'<label><input [^>]*id="{name}"', shown)
        assert described is None or f'id="{described[1]}"' in shown
    assert "users to greet" in shown
    example = admin.get("/template/opn/hello/submit?example=1")
    assert ">\nada\ngrace</textarea>" in example and 'value="Good morning"' in example
    for number in ("99", "0", "x", "9" * 5000, "²"):
        assert 'value="Hello"' in admin.get(f"/template/opn/hello/submit?example={number}")


def test_form_is_run_and_its_answer_shown(admin: Visitor) -> None:
    answer = admin.post(RUN, command="echo $((6*7)); echo said >&2", check="true", __tags="a b")
    assert answer.status_code == 303
    address = answer.headers["location"]
    shown = text_of(admin.get(address))
    assert re.fullmatch(r"/pages/tasks/[0-9a-f-]{36}", address)
    for words in ("core:run succeeded", "stdout 42", "stderr said", "exit code 0", "· a · b"):
        assert words in shown
    again = admin.get(f"{RUN}?again={address.rpartition('/')[2]}")
    assert "echo $((6*7)); echo said" in html.unescape(again)
    assert address in admin.get("/pages/tasks")
    assert address in admin.get("/pages/tasks?state=succeeded&operator=core")
    assert address not in admin.get("/pages/tasks?state=failed&operator=core")
    assert address in admin.get("/pages/tasks?state=nonsense&operator=")


def test_names_in_an_address_are_matched_as_in_the_api(admin: Visitor) -> None:
    assert 'action="/core/opn/run/submit"' in admin.get("/Core/opn/RUN/submit")


def test_every_fault_is_beside_its_field_and_the_input_stays_in_the_form(admin: Visitor) -> None:
    secret = secrets.token_hex(8)
    shown = admin.send(
        "/template/opn/hello/submit",
        422,
        names="ada\n../x",
        greeting="Hi 5 <b>",
        password=secret,
        signed="true",
        undeclared="x",
        __timeout="-1",
    )
    assert "timeout: " in text_of(shown)  # faults of the preferences come first
    shown = admin.send(
        "/template/opn/hello/submit",
        422,
        names="ada\n../x",
        greeting="Hi 5 <b>",
        password=secret,
        signed="true",
        undeclared="x",
    )
    assert "undeclared: unknown option" in text_of(shown)
    messages = {"names": "must be a POSIX user name", "greeting": "must be letters and spaces"}
    for name, message in messages.items():
        field = re.search(rf'name="{name}" aria-describedby="([^"]+)"[^>]*aria-invalid', shown)
        assert field is not None
        beside = re.search(rf'id="{field[1]}">(.*?)</p>', shown, re.DOTALL)
        assert beside is not None and message in beside[1]
    assert ">\nada\n../x</textarea>" in shown and 'value="Hi 5 &lt;b&gt;"' in shown
    assert re.search(r'name="signed"[^>]* checked', shown)
    assert secret not in shown


def test_check_shows_what_would_run_and_runs_nothing(admin: Visitor, alice: Caller) -> None:
    before = alice.newest("task")
    shown = admin.send("/utils/cmd/ls/submit", long="true", input="/etc 'a b'", __dry_run="true")
    assert "ls -l /etc 'a b'" in html.unescape(shown)
    assert re.search(r'name="long"[^>]* checked', shown)
    assert alice.newest("task") == before


def test_failure_is_shown_with_its_step(admin: Visitor) -> None:
    shown = text_of(admin.send("/utils/cmd/cat/submit", input="/no/such/file"))
    assert "utils:cat failed" in shown and "CommandFailed" in shown
    assert "No such file or directory" in shown and "exit code 1" in shown


def test_output_and_options_are_escaped(admin: Visitor) -> None:
    shown = admin.send(RUN, command=f"echo \"{BAD}\"; echo '<i>' >&2; exit 3", check="true")
    assert "&lt;script&gt;alert(" in shown and "<i>" not in shown
    listed = admin.get("/pages/tasks")
    assert "&lt;script&gt;" in listed
    assert "&lt;script&gt;" in admin.get("/<script>/opn/x/submit", 404)


def test_list_of_objects_is_shown_as_a_table(admin: Visitor) -> None:
    rows = '[{"node": "n1", "gpus": 4}, {"node": "<n2>", "state": ["idle", "drain"]}]'
    shown = admin.send("/shown/cmd/table/submit", input=f"%s '{rows}'")
    assert re.findall(r'<th scope="col"[^>]*>(\w+)<', shown) == ["node", "gpus", "state"]
    assert "idle, drain" in shown and "&lt;n2&gt;" in shown


def test_command_with_form_false_has_no_form(admin: Visitor, alice: Caller) -> None:
    index = admin.get("/pages/")
    assert "/shown/cmd/table/submit" in index and "formless" not in index
    assert "form: false" in text_of(admin.get("/shown/cmd/formless/submit", 404))
    assert admin.http.post("/shown/cmd/formless/submit").status_code == 404
    assert 'name="kept_back"' not in admin.get("/shown/cmd/table/submit")
    assert alice.post("shown/cmd/formless").status_code == 200  # the API has it


@pytest.mark.parametrize(
    "path", ["/core/opn/rum/submit", "/utlis/cmd/ls/submit", "/core/cmd/run/submit"]
)
def test_page_of_an_unknown_action_names_the_nearest(admin: Visitor, path: str) -> None:
    assert "did you mean" in admin.get(path, 404)
    admin.send(path, 404)


def test_task_of_another_user_is_not_shown(admin: Visitor, bob: Caller) -> None:
    task = bob.run("true").json()["task"]
    for path in (f"/pages/tasks/{task}", "/pages/tasks/x", f"{RUN}?again={task}"):
        assert "There is no task" in admin.get(path, 404)


def test_page_of_a_long_task_refreshes_until_its_end(admin: Visitor, alice: Caller) -> None:
    answer = admin.post(RUN, command="sleep 3; echo done")
    address = answer.headers["location"]
    shown = admin.get(address)
    assert '<meta http-equiv="refresh" content="2">' in shown
    assert "this page refreshes every 2 seconds" in shown
    alice.task(address.rpartition("/")[2], wait=20)
    shown = admin.get(address)
    assert "refresh" not in shown and "stdout done" in text_of(shown)


def test_form_that_is_sent_twice_runs_once_and_a_changed_one_again(admin: Visitor) -> None:
    file = f"pressed-{secrets.token_hex(4)}"
    line = f"echo >>{file}; wc -l <{file}"
    first = admin.post(RUN, command=line, __key="my-form")
    again = admin.post(RUN, command=line, __key="my-form")
    assert (again.status_code, again.headers["location"]) == (303, first.headers["location"])
    changed = admin.send(RUN, command=f"{line}; rm {file}", __key="my-form")
    assert "stdout 2" in text_of(changed)  # the first ran once
    for key in ("", "ä", "x" * 1000, "a b"):  # no browser sends these
        assert "succeeded" in text_of(admin.send(RUN, command="true", __key=key))
    shown = admin.send("/core/opn/run/submit", 422, timeout_seconds="3", __key="my-form")
    assert 'name=":key" value="my-form"' in shown  # nothing ran


def test_task_is_cancelled_after_a_question(
    admin: Visitor, visitor: Visitor, alice: Caller
) -> None:
    address = admin.post(RUN, command="trap '' TERM; sleep 600").headers["location"]
    question = f"{address}/cancel"
    assert f'href="{question}"' in admin.get(address)
    assert eventually(lambda: "ended on the cluster" in text_of(admin.get(question)))
    visitor.log_in("bob")
    guard = re.findall(r'name="(:guard)" value="(\w+)"', visitor.get("/pages/tasks"))
    answers = [visitor.http.get(question), visitor.http.post(question, data=dict(guard))]
    assert [each.status_code for each in answers] == [404, 404]
    assert admin.http.post(question, data={":guard": "wrong"}).status_code == 403
    assert admin.post(question).headers["location"] == address
    task = alice.task(address.rpartition("/")[2], wait=20)
    assert (task["state"], task["error"]["ended"]) == ("cancelled", True)
    assert admin.http.get(question).headers["location"] == address  # it has ended
    guard = re.findall(r'name="(:guard)" value="(\w+)"', admin.get("/pages/tasks"))
    assert admin.http.post(question, data=dict(guard)).headers["location"] == address
    shown = admin.get(address)
    assert "/cancel" not in shown and "cancelled" in text_of(shown)


def test_batch_is_cancelled_after_a_question(admin: Visitor, alice: Caller) -> None:
    answer = alice.http.post("/core/opn/run/batch", json={"items": [{"command": "sleep 600"}] * 40})
    batch = answer.json()["batch"]
    page, question = f"/pages/batches/{batch}", f"/pages/batches/{batch}/cancel"
    assert f'href="{question}"' in admin.get(page)
    assert "never run" in text_of(admin.get(question))
    assert admin.post(question).headers["location"] == page
    ended = alice.http.get(f"/batches/{batch}", params={"wait": 30}).json()
    assert (ended["state"], ended["counts"]["cancelled"]) == ("ended", 40)
    assert admin.http.get(question).headers["location"] == page


def test_script_can_be_a_file(admin: Visitor) -> None:
    guard = re.search(r'name=":guard" value="(\w+)"', admin.get("/core/opn/script/submit"))
    assert guard is not None
    fields: Mapping[str, Any] = {":guard": guard[1], "script": "", "arguments": "a b\r\nc\r\n"}
    file = {"script": ("run.sh", b'#!/bin/sh\nprintf "<%s>" "$@"\n')}
    answer = admin.http.post("/core/opn/script/submit", data=fields, files=file)
    assert answer.status_code == 303, answer.text
    assert "<a b><c>" in text_of(admin.get(answer.headers["location"]))
    typed = {**fields, "script": '#!/bin/sh\r\nprintf "<%s>" "$@" end\r\n'}
    answer = admin.http.post("/core/opn/script/submit", data=typed)
    assert "<a b><c><end>" in text_of(admin.get(answer.headers["location"]))
    latin = {"script": ("run.sh", b"#!/bin/sh\necho \xfc\n")}
    answer = admin.http.post("/core/opn/script/submit", data=fields, files=latin)
    assert answer.status_code == 422 and "not UTF-8 text" in answer.text


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"a=%ff", "application/x-www-form-urlencoded", 422),
        (b"x" * (1 << 21), "application/x-www-form-urlencoded", 413),
        (b"x", "multipart/form-data; boundary=y", 422),
        (b"", "", 403),
    ],
    ids=["json", "no UTF-8", "too large", "no parts", "nothing"],
)
def test_body_other_than_a_form_gets_an_error_page(
    admin: Visitor, body: bytes, kind: str, status: int
) -> None:
    answer = admin.http.post(RUN, content=body, headers={"Content-Type": kind})
    assert answer.status_code == status and answer.text.startswith("<!doctype html>")


def upload(admin: Visitor, action: str, content: bytes, name: str, **fields: str) -> httpx.Response:
    """Submit the page that runs an action for each row of a table."""
    path = f"/{action}/batch/submit"
    guard = re.search(r'name=":guard" value="(\w+)"', admin.get(path))
    assert guard is not None
    named = {f":{key}": value for key, value in fields.items()}
    files = {":table": (name, content)} if name else {":table": ("", b"")}
    return admin.http.post(path, data={":guard": guard[1], **named}, files=files)


def test_table_is_checked_and_launched_as_a_batch(admin: Visitor) -> None:
    action = "mysite/opn/issue"
    assert f'href="/{action}/batch/submit"' in admin.get(f"/{action}/submit")
    shown = text_of(admin.get(f"/{action}/batch/submit"))
    assert "For example name ." in shown and "name required" in shown
    wrong = "name;seconds\r\nada;0\r\nbob;soon\r\n;0\r\nZoë\r\n".encode()
    faults = (
        ("line 3, seconds: must be a number", wrong, "p.csv"),
        ("line 4, name: is required", wrong, "p.csv"),
        ("line 5: has 1 cell, but the header has 2 columns", wrong, "p.csv"),
        ("line 1, column 2: unknown option 'nam'", b"name,nam\nada,x\n", "p.csv"),
        ("line 2, column 3: byte 0xEB", b"name\nZo\xeb\n", "p.csv"),
        ("line 2, column 4: is not valid JSON", b'{"name": "ada"}\n{"na', "p.jsonl"),
        ("body: is a table without a row", b"name\n", "p.csv"),
        ("table: choose a file", b"", ""),
    )
    for message, content, name in faults:
        answer = upload(admin, action, content, name)
        assert answer.status_code == 422, answer.text
        assert message in text_of(answer.text), text_of(answer.text)
    assert "2 tasks" in text_of(upload(admin, action, b"name\na\nb", "x", dry_run="true").text)
    forged = admin.http.post(f"/{action}/batch/submit", files={":table": ("x.csv", b"name\na")})
    assert forged.status_code == 403

    answer = upload(admin, action, wrong, "p.csv", keep_going="true", tags="course 2027")
    assert answer.status_code == 303, answer.text
    address = answer.headers["location"]
    deadline = time.monotonic() + 20
    while "refresh" in (page := admin.get(address)):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    shown = text_of(page)
    assert "Batch of mysite:issue ended" in shown and "4 tasks · 1 succeeded · 3 failed" in shown
    assert "2027" in shown and "Line 3, seconds: must be a number" in shown
    tables = [admin.post(address) for _ in range(2)]
    assert all("attachment" in each.headers["content-disposition"] for each in tables)
    once, again = (list(csv.DictReader(io.StringIO(each.text))) for each in tables)
    assert [row["state"] for row in once] == ["succeeded", "failed", "failed", "failed"]
    assert once[0]["password"].startswith("pw-") and again[0]["password"] == "********"
    assert admin.http.post(address).status_code == 403, "a forged form"


def test_page_of_a_batch_is_for_its_user(admin: Visitor, bob: Caller) -> None:
    answer = upload(admin, "utils/cmd/echo", b'{"input": "x"}\n', "x.jsonl")
    batch = answer.headers["location"].rpartition("/")[2]
    failure(bob.http.get(f"/batches/{batch}"), 404)
    assert "There is no batch" in admin.get("/pages/batches/nosuch", 404)
    other = bob.http.get(f"/pages/batches/{batch}", headers={"Cookie": f"resop={bob.token}"})
    assert other.status_code == 404
    for path in ("/auth/opn/logout/batch/submit", "/nosuch/opn/x/batch/submit"):
        assert admin.http.get(path).status_code == 404


def test_secret_is_in_no_page_and_nowhere_else(admin: Visitor, service: Service) -> None:
    secret = f"marker-{secrets.token_hex(12)}"
    fields: dict[str, Any] = {"names": "ada", "greeting": "Hello", "password": secret}
    answer = admin.post("/template/opn/hello/submit", **fields)
    address = answer.headers["location"]
    again = f"/template/opn/hello/submit?again={address.rpartition('/')[2]}"
    pages = [admin.get(path) for path in (address, again, "/pages/tasks")]
    pages.append(admin.send("/template/opn/hello/submit", **fields, __dry_run="true"))
    assert not any(secret in page for page in pages) and "********" in pages[0]
    assert places_of([secret, ACCOUNTS["alice"].password], service) == []


@pytest.mark.parametrize(
    ("path", "kind"), [("style.css", "text/css; charset=utf-8"), ("icon.svg", "image/svg+xml")]
)
def test_assets_need_no_login(visitor: Visitor, path: str, kind: str) -> None:
    answer = visitor.http.get(f"/pages/{path}?1.2.3")
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert "max-age" in answer.headers["cache-control"]
    assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
