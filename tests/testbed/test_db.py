"""The db operator on a real PostgreSQL and a real MariaDB, through the service and sshd."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.centre import created, logged_in, output
from tests.support.service import Caller, Embedded, failure
from tests.support.testbed import Testbed

pytestmark = pytest.mark.timeout(120)

HOSTILE = (
    "'; DROP TABLE users; --",
    "\\'; DROP TABLE users; --",
    "\\",
    "\\! touch /tmp/pwned",
    "$$; $resop$ END$resop$; :'x' :password",
    '"`; -- /* # %s \t',
    "two\nlines\r\n\\.\n\\q\n;",
    "ü ß 漢 \U0001f600 \u202e\u2028",
    "NULL",
    "",
    "<b>&amp; ]]>",
)
HALF = """\
from operators.db.operations.create_user import create_user
from operators.db.operations.enable_user import enable_user
from resop import Secret, Shell, operation


@operation(dry_run=True)
def half(shell: Shell) -> None:
    create_user(shell, username="half", mail="a@b", full_name="Half", password=Secret("abc"))
    enable_user(shell, username="alice", enabled=False)
    shell.fail("enough")
"""
MARKS = {"postgresql": "$1", "mariadb": "?"}


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def running(bed: Testbed, engine: str) -> Iterator[Embedded]:
    where = getattr(bed.site, engine)
    settings = {
        "CLUSTER_ADDRESS": bed.site.ssh.host,
        "CLUSTER_SSH_PORT": bed.site.ssh.port,
        "KNOWN_HOSTS": bed.site.ssh.known_hosts,
        "ADMINISTRATORS": bed.site.admin.name,
        "PORTAL_ENGINE": engine,
        "PORTAL_PORT": where.port,
        "PORTAL_PASSWORD": where.password,
    }
    with TemporaryDirectory(prefix="resop-", dir="/tmp") as name:
        folder = Path(name)
        operations = folder / "operators" / "mysite" / "operations"
        operations.mkdir(parents=True)
        (operations / "half.py").write_text(HALF)
        settings["OPERATORS_PATH"] = folder / "operators"
        with Embedded(folder, settings) as started:
            yield started


@pytest.fixture(scope="module")
def admin(running: Embedded, bed: Testbed) -> Iterator[Caller]:
    with logged_in(running, bed.site.admin.name, bed.site.admin.password) as caller:
        yield caller


def asked(caller: Caller, sql: str, *values: Any, **options: Any) -> list[dict[str, Any]]:
    answer = output(caller, "db/opn/query", sql=sql, values=list(values), **options)
    rows: list[dict[str, Any]] = answer["rows"]
    return rows


@contextlib.contextmanager
def somebody(admin: Caller, username: str, **options: Any) -> Iterator[dict[str, Any]]:
    about = {"mail": "some@hpc.example", "full_name": "Some Body"}
    made = output(admin, "db/opn/create_user", username=username, **about | options)
    try:
        yield created(made)
    finally:
        admin.post("db/opn/delete_user", {"username": username})


def test_user_is_created_found_and_deleted(admin: Caller) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    with somebody(admin, "a.da-1", mail="o'hara@hpc.example", role="admin") as made:
        assert isinstance(made["id"], int)
        assert datetime.fromisoformat(made["created_at"]) > before
        about = {"username": "a.da-1", "mail": "o'hara@hpc.example", "full_name": "Some Body"}
        assert made == {
            **about,
            "id": made["id"],
            "role": "admin",
            "enabled": True,
            "created_at": made["created_at"],
        }
        assert output(admin, "db/opn/list_users", username="a.da-1")["users"] == [made]
        assert output(admin, "db/opn/delete_user", username="a.da-1") == made
    error = failure(admin.post("db/opn/delete_user", {"username": "a.da-1"}), 424)
    assert error["message"] == "the portal has no user a.da-1"


def test_dry_run_has_the_server_check_and_changes_nothing(admin: Caller, engine: str) -> None:
    before = output(admin, "db/opn/list_users")
    alice = {"username": "alice"}
    grace = {"username": "grace", "mail": "g@b", "full_name": "Grace", "password": "abc"}
    select = {"sql": f"SELECT * FROM users WHERE username = {MARKS[engine]}", "values": ["alice"]}
    for action, options, summary in (
        ("create_user", grace, "add grace to the portal"),
        ("enable_user", {**alice, "enabled": False}, "disable alice in the portal"),
        ("change_password", {**alice, "password": "abc"}, "set the portal's password of alice"),
        ("delete_user", alice, "remove alice from the portal"),
        ("query", select, "query the portal"),
    ):
        answer = admin.post(f"db/opn/{action}", options, query={"dry_run": "true"})
        assert answer.status_code == 200, answer.text
        plan = answer.json()["plan"]
        assert {step["summary"] for step in plan if step["changes"]} == {summary}, action
        checked = [step["summary"] for step in plan if not step["changes"]]
        assert f"have the server check: {summary}" in checked, action
    unknown = {"sql": "SELECT nosuch FROM users"}
    error = failure(admin.post("db/opn/query", unknown, query={"dry_run": "true"}), 424)
    assert error["message"] == failure(admin.post("db/opn/query", unknown), 424)["message"]
    half = admin.post("mysite/opn/half", query={"dry_run": "true"})
    assert failure(half, 424)["message"] == "enough"
    assert [step["summary"] for step in half.json()["plan"] if step["changes"]] == [
        "add half to the portal",
        "disable alice in the portal",
    ]
    assert output(admin, "db/opn/list_users") == before


def test_users_are_listed_by_name_in_parts(admin: Caller) -> None:
    first = output(admin, "db/opn/list_users", limit=2)
    assert ([user["username"] for user in first["users"]], first["complete"]) == (
        ["alice", "bob"],
        False,
    )
    rest = output(admin, "db/opn/list_users", after="bob")
    assert "carol" in [user["username"] for user in rest["users"]]
    assert rest["complete"]
    found = output(admin, "db/opn/list_users", search="ALICE@", enabled=True)["users"]
    assert [user["username"] for user in found] == ["alice"]
    assert output(admin, "db/opn/list_users", search="al%")["users"] == []
    assert output(admin, "db/opn/list_users", search="alice", enabled=False)["users"] == []


@pytest.mark.parametrize(
    "text", ["\\'; DROP TABLE users; -- $resop$", "NULL <b>&amp; ß 漢 \U0001f600"]
)
def test_name_arrives_as_it_was_written(admin: Caller, text: str) -> None:
    with somebody(admin, "hurt", full_name=text) as made:
        assert made["full_name"] == text
        found = output(admin, "db/opn/list_users", search=text)["users"]
        assert [user["username"] for user in found] == ["hurt"]


def test_values_of_a_query_are_values(admin: Caller, bed: Testbed, engine: str) -> None:
    kinds = {bool: "boolean", int: "bigint", float: "double precision"}
    values = (*HOSTILE, 5, -1, 2**53, 0.5, -1e-9, True, False, None)
    said = [
        f"CAST(${number} AS {kinds.get(type(value), 'text')})" if engine == "postgresql" else "?"
        for number, value in enumerate(values, 1)
    ]
    named = (f"{mark} AS v{number}" for number, mark in enumerate(said))
    (row,) = asked(admin, f"SELECT {', '.join(named)}", *values)
    assert list(row.values()) == list(values)
    if engine == "postgresql":  # to MariaDB, TRUE is 1 outside of a column
        assert [type(value) for value in row.values()] == [type(value) for value in values]
    for text in HOSTILE:
        assert asked(admin, f"SELECT 1 FROM users WHERE username = {MARKS[engine]}", text) == []
    assert not (bed.site.state / "tmp" / "pwned").exists()


def test_columns_keep_their_types(admin: Caller) -> None:
    sql = (
        "SELECT id, enabled, password_hash, created_at, 1.5 AS half, 'NULL' AS text, "
        "CURRENT_DATE AS today, CURRENT_TIMESTAMP AS now FROM users WHERE username = 'alice'"
    )
    (row,) = asked(admin, sql)
    assert isinstance(row["id"], int)
    assert (row["enabled"], row["password_hash"]) == (True, None)
    assert (row["half"], row["text"]) == (1.5, "NULL")
    assert datetime.fromisoformat(row["created_at"]).year >= 2024
    assert datetime.fromisoformat(row["now"]).date().isoformat() == row["today"]


def test_query_keeps_its_order_and_its_limit(admin: Caller) -> None:
    sql = "WITH named AS (SELECT username FROM users) SELECT * FROM named ORDER BY 1 DESC -- ;"
    answer = output(admin, "db/opn/query", sql=sql, limit=2)
    names = [row["username"] for row in answer["rows"]]
    assert (names, answer["complete"]) == (sorted(names, reverse=True), False)
    assert len(names) == 2
    assert output(admin, "db/opn/query", sql="SELECT 1 AS one WHERE 1 = 0;") == {
        "rows": [],
        "complete": True,
    }


SEVERAL_STATEMENTS = [
    "SELECT 1; DELETE FROM sessions",
    "SELECT 1) SELECT 1; DELETE FROM sessions; --",
    "SELECT 1) SELECT 1; COMMIT; DELETE FROM sessions; --",
    "SELECT 1) SELECT 1; SET TRANSACTION READ WRITE; DELETE FROM sessions; --",
    "SELECT 1) SELECT 1; SELECT set_config('transaction_read_only', 'off', false); --",
]
NO_QUERIES = ["DELETE FROM users", "BEGIN NOT ATOMIC COMMIT; END", "/**/ SELECT 1", "\\! id"]
WRITES = {
    "postgresql": [
        "WITH gone AS (DELETE FROM sessions RETURNING *) SELECT * FROM gone",
        "SELECT nextval('users_id_seq')",
    ],
    "mariadb": [
        "SELECT * FROM users INTO OUTFILE '/tmp/pwned'",
    ],
}


def test_query_changes_nothing(admin: Caller, engine: str) -> None:
    for sql in WRITES[engine]:
        error = failure(admin.post("db/opn/query", {"sql": sql}), 424)
        assert error["type"] == "CommandFailed", sql
    for sql in (*SEVERAL_STATEMENTS, *NO_QUERIES):
        failure(admin.post("db/opn/query", {"sql": sql}), 422)


def test_fault_in_a_query_is_told_as_the_server_tells_it(admin: Caller, engine: str) -> None:
    error = failure(admin.post("db/opn/query", {"sql": "SELECT * FROM nowhere"}), 424)
    assert error["type"] == "CommandFailed"
    assert "nowhere" in error["message"]
    assert error["message"].lower().startswith(engine)


def test_name_that_is_taken_is_refused(admin: Caller) -> None:
    about = {"username": "alice", "mail": "a@b", "full_name": "A"}
    error = failure(admin.post("db/opn/create_user", about), 424)
    assert error["message"] == "the portal already has a user alice"
    assert error["undone"] == []
    (alice,) = output(admin, "db/opn/list_users", username="alice")["users"]
    assert alice["full_name"] == "alice"


def test_role_that_the_table_refuses_is_told(admin: Caller) -> None:
    about = {"username": "odd", "mail": "a@b", "full_name": "A", "role": "king"}
    error = failure(admin.post("db/opn/create_user", about), 424)
    assert "role" in error["message"]
    assert output(admin, "db/opn/list_users", username="odd")["users"] == []


def test_password_is_kept_as_a_hash_that_crypt_knows(admin: Caller, bed: Testbed) -> None:
    password = "-n 'it''s' $(id) \\ üß€"
    with somebody(admin, "ada", password=password):
        (row,) = asked(admin, "SELECT password_hash FROM users WHERE username = 'ada'")
        assert row["password_hash"] == crypted(bed, password, row["password_hash"])
        output(admin, "db/opn/change_password", username="ada", password="other one")
        (row,) = asked(admin, "SELECT password_hash FROM users WHERE username = 'ada'")
        assert row["password_hash"] == crypted(bed, "other one", row["password_hash"])
    about = {"username": "nobody", "password": "other one"}
    error = failure(admin.post("db/opn/change_password", about), 424)
    assert error["message"] == "the portal has no user nobody"


def crypted(bed: Testbed, password: str, stored: str) -> str:
    """Hash a password with openssl and the salt of a stored hash."""
    salt = stored.split("$")[2]
    argv = ["openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    return bed.machine.run(argv, text=password).strip()


def test_user_is_kept_out_and_let_in(admin: Caller) -> None:
    with somebody(admin, "ada") as made:
        out = output(admin, "db/opn/enable_user", username="ada", enabled=False)
        assert out == {**made, "enabled": False}
        assert output(admin, "db/opn/list_users", username="ada", enabled=False)["users"] == [out]
        assert output(admin, "db/opn/enable_user", username="ada") == made


def test_database_that_is_down_is_named(admin: Caller, bed: Testbed, engine: str) -> None:
    bed.daemon("stop", engine)
    try:
        for action, options in [
            ("db/opn/list_users", {}),
            ("db/opn/query", {"sql": "SELECT 1"}),
            ("db/opn/delete_user", {"username": "alice"}),
            ("db/opn/change_password", {"username": "alice", "password": "abc"}),
        ]:
            error = failure(admin.post(action, options), 424)
            assert error["type"] == "DaemonUnavailable"
            assert error["retryable"]
            assert (
                error["message"]
                == f"{error['daemon']} at 127.0.0.1:{port(bed, engine)} cannot be reached"
            )
            assert error["daemon"].lower() == engine
    finally:
        bed.daemon("start", engine)
    assert output(admin, "db/opn/list_users", username="alice")["users"]


def port(bed: Testbed, engine: str) -> int:
    return int(getattr(bed.site, engine).port)


def test_password_of_the_service_is_for_administrators(running: Embedded, bed: Testbed) -> None:
    user = bed.site.users[0]
    with logged_in(running, user.name, user.password) as alice:
        error = failure(alice.post("db/opn/list_users"), 403)
    assert error["type"] == "NotPermitted"


def test_password_of_the_service_is_in_no_list_of_processes(
    admin: Caller, bed: Testbed, engine: str
) -> None:
    sleep = "pg_sleep(5)" if engine == "postgresql" else "sleep(5)"
    task = admin.begin("db/opn/query", {"sql": f"SELECT {sleep}"})
    deadline, shown = time.monotonic() + 20, ""
    while "--host=127.0.0.1 --port=" not in shown:
        assert time.monotonic() < deadline
        shown = bed.machine.run(["ps", "-eo", "args"])
    assert getattr(bed.site, engine).password not in shown
    record = admin.task(task, wait=30)
    assert record["state"] == "succeeded"
    assert getattr(bed.site, engine).password not in str(record)


def test_declared_clients_run(admin: Caller, bed: Testbed, engine: str) -> None:
    where, name = getattr(bed.site, engine), "psql" if engine == "postgresql" else "mariadb"
    options = {"host": where.host, "port": where.port}
    if engine == "postgresql":
        file, kept = ".pgpass", f"*:*:*:*:{where.password}\n"
        options |= {"username": where.user, "dbname": where.name, "command": ["select 1 + 1"]}
    else:
        file, kept = ".my.cnf", f"[client]\npassword={where.password}\n"
        options |= {"user": where.user, "database": where.name, "execute": "select 1 + 1"}
    error = failure(admin.post(f"db/cmd/{name}", options), 424)
    assert "password" in error["message"]
    output(admin, "core/opn/run", command=f"umask 077 && cat >{file}", stdin=kept)
    try:
        assert "2" in output(admin, f"db/cmd/{name}", **options)
    finally:
        output(admin, "utils/cmd/rm", input=[file])


def test_user_is_as_before_when_a_later_step_fails(admin: Caller) -> None:
    error = failure(admin.post("mysite/opn/half"), 424)
    assert error["message"] == "enough"
    assert error["needs_repair"] == []
    kept_out, removed = error["undone"]
    assert "enable alice in the portal" in kept_out
    assert "remove half from the portal" in removed
    assert output(admin, "db/opn/list_users", username="half")["users"] == []
    assert output(admin, "db/opn/list_users", username="alice")["users"][0]["enabled"]
