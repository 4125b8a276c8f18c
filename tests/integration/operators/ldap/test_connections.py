"""Ways to reach a directory and to bind, and what is said where they fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import slapd
from tests.support.directory import create, failure, output
from tests.support.needs import need
from tests.support.ports import HOST, free_port
from tests.support.slapd import BASE, Slapd, group_entry, user_entry

need(slapd.reason_unavailable())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    folder = tmp_path_factory.mktemp("tls")
    with slapd.slapd(folder, tls=True, entries=group_entry()) as started:
        yield started


@pytest.mark.parametrize("scheme", ["ldaps", "StartTLS"])
def test_private_ca_is_trusted_where_a_setting_names_it(server: Slapd, scheme: str) -> None:
    tls = {"LDAP_START_TLS": "yes"}
    if scheme == "ldaps":
        tls = {"LDAP_URI": f"ldaps://{HOST}:{server.tls_port}"}
    error = failure(server, "find_user", more=tls)
    assert "does not trust the certificate of the LDAP server" in error["message"]
    assert "LDAP_TLS_CACERT" in error["message"]
    assert (error["type"], error["retryable"]) == ("OperationFailed", False)
    server.settings.update(tls, LDAP_TLS_CACERT=str(server.folder / "ca.pem"))
    try:
        create(server, "tls")
        output(server, "delete_user", username="tls")
    finally:
        del server.settings["LDAP_TLS_CACERT"]
        server.settings["LDAP_URI"] = server.uri
        server.settings.pop("LDAP_START_TLS", None)


def test_certificate_of_another_name_is_not_trusted(server: Slapd) -> None:
    more = {
        "LDAP_URI": f"ldaps://localhost:{server.tls_port}",
        "LDAP_TLS_CACERT": str(server.folder / "ca.pem"),
    }
    error = failure(server, "find_user", more=more)
    assert "LDAP_URI must have a name of the certificate" in error["message"]


def test_account_of_the_login_node_binds_without_a_password(server: Slapd) -> None:
    server.settings.update(LDAP_SASL_MECH="external", LDAP_URI=server.socket_uri)
    password = server.settings.pop("LDAP_BIND_PASSWORD")
    try:
        made = create(server, "socket")
        assert server.values("(uid=socket)", "uidNumber") == [str(made["uid_number"])]
        output(server, "delete_user", username="socket")
    finally:
        server.settings.update(LDAP_URI=server.uri, LDAP_BIND_PASSWORD=password)
        del server.settings["LDAP_SASL_MECH"]


def test_what_is_wrong_is_named_with_the_setting(server: Slapd) -> None:
    nobody = f"ldap://{HOST}:{free_port()}"
    cases: list[tuple[str, dict[str, str], str, list[str]]] = [
        (
            "find_user",
            {"LDAP_PEOPLE": f"ou=Nobody,{BASE}"},
            "CommandFailed",
            ["No such object (32)", f"no ou=Nobody,{BASE}, only {BASE}: see LDAP_PEOPLE"],
        ),
        (
            "create_group",
            {"LDAP_GROUPS": f"ou=Nothing,{BASE}"},
            "CommandFailed",
            ["(32)", "see LDAP_GROUPS"],
        ),
        (
            "find_user",
            {"LDAP_PEOPLE": "People"},
            "CommandFailed",
            ["Invalid DN syntax (34)", "see LDAP_PEOPLE"],
        ),
        ("find_user", {"LDAP_BIND_PASSWORD": "wrong"}, "OperationFailed", ["LDAP_BIND_PASSWORD"]),
        ("find_user", {"LDAP_URI": "ldap.hpc.example"}, "OperationFailed", ["LDAP_URI must be"]),
        ("find_user", {"LDAP_URI": nobody}, "DaemonUnavailable", [f"{nobody} cannot be reached"]),
        ("find_user", {"LDAP_BIN": "/no/such"}, "OperationFailed", ["LDAP_BIN"]),
        (
            "find_user",
            {"LDAP_SASL_MECH": "PLAIN"},
            "OperationFailed",
            ["LDAP_SASL_MECH must be none or EXTERNAL or GSSAPI"],
        ),
        ("find_user", {"LDAP_SASL_MECH": "GSSAPI"}, "CommandFailed", ["LDAP_SASL_MECH"]),
        (
            "find_user",
            {"LDAP_SUSPEND_ATTRIBUTE": "locked"},
            "OperationFailed",
            ["LDAP_SUSPEND_ATTRIBUTE must be"],
        ),
        (
            "create_user",
            {"LDAP_GID": "hpcuser"},
            "OperationFailed",
            ["the setting LDAP_GID is hpcuser", "neither the directory nor the login node"],
        ),
        ("create_user", {"LDAP_GID": "4711"}, "OperationFailed", ["the setting LDAP_GID is 4711"]),
        (
            "create_user",
            {"LDAP_FIRST_UID": "many"},
            "OperationFailed",
            ["the setting LDAP_FIRST_UID must be a number, not 'many'"],
        ),
        (
            "create_user",
            {"LDAP_FIRST_UID": "50", "LDAP_LAST_UID": "40"},
            "OperationFailed",
            ["no uidNumber is left up to 40: see LDAP_LAST_UID"],
        ),
        (
            "create_user",
            {"LDAP_HOME": "/home/{user}"},
            "OperationFailed",
            ["the setting LDAP_HOME may contain {username}, {initial}"],
        ),
        (
            "create_user",
            {"LDAP_USER_ATTRIBUTES": "ou=People"},
            "OperationFailed",
            ["the setting LDAP_USER_ATTRIBUTES must be JSON"],
        ),
        (
            "create_user",
            {"LDAP_USER_ATTRIBUTES": '{"krbPrincipalName": "{username}@X"}'},
            "CommandFailed",
            ["Undefined attribute type (17): krbPrincipalName", "LDAP_USER_CLASSES"],
        ),
        (
            "create_user",
            {"LDAP_USER_CLASSES": "account posixAccount"},
            "CommandFailed",
            ["Object class violation (65): attribute 'sn' not allowed", "see LDAP_USER_CLASSES"],
        ),
    ]
    options = {
        "create_user": {"username": "ada", "full_name": "A", "mail": "a@b", "password": "x"},
        "create_group": {"name": "project9"},
        "find_user": {},
    }
    for name, more, kind, texts in cases:
        error = failure(server, name, more=more, **options[name])
        assert error["type"] == kind, (more, error)
        for text in texts:
            assert text in error["message"], (more, error["message"])
        assert error["needs_repair"] == []
    assert server.search("(uid=ada)", "1.1") == []


def test_group_can_be_named_by_the_setting(server: Slapd) -> None:
    server.settings["LDAP_GID"] = "hpcusers"
    try:
        assert create(server, "grouped")["gid_number"] == slapd.GROUP
        output(server, "delete_user", username="grouped")
    finally:
        server.settings["LDAP_GID"] = str(slapd.GROUP)


def test_replica_names_the_server_to_write_to(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("replica")
    master = "ldap://master.hpc.example"
    with slapd.slapd(
        folder,
        database=f"readonly off\nupdatedn cn=sync,{BASE}\nupdateref {master}\n",
        entries=group_entry() + user_entry("ada", 20001),
    ) as server:
        assert output(server, "find_user", username="ada")["users"]
        error = failure(server, "modify_user", username="ada", mail="new@hpc.example")
        assert f"refers to {master}" in error["message"]
        assert "set LDAP_URI" in error["message"]


def test_server_that_wants_encryption_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("confidential")
    # The bind of the tests themselves, over the socket, stays possible: ssf of ldapi is 71.
    database = "security ssf=0 update_ssf=128\n"
    with slapd.slapd(folder, tls=True, database=database, entries=group_entry()) as server:
        error = failure(server, "create_group", name="project9")
        assert "confidentiality required" in error["message"].lower()
        assert "set LDAP_START_TLS=yes" in error["message"]
        server.settings.update(LDAP_START_TLS="yes", LDAP_TLS_CACERT=str(server.folder / "ca.pem"))
        output(server, "create_group", name="project9")
