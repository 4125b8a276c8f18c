"""Messages of the clients of OpenLDAP 2.4 to 2.6 are understood."""

from operators.ldap.diagnosis import diagnose

MESSAGES = {
    "ldap_add: Constraint violation (19)\n\tadditional info: some attributes not unique\n": (
        ("ldap_add: Constraint violation (19)", "ldap_add", 19, "some attributes not unique", "")
    ),
    "Result: Constraint violation (19)\nAdditional info: Password is too young to change\n": (
        ("Constraint violation (19)", "", 19, "Password is too young to change", "")
    ),
    "No such object (32)\nMatched DN: dc=hpc,dc=example\n": (
        ("No such object (32)", "", 32, "", "dc=hpc,dc=example")
    ),
    "ldap_sasl_bind(SIMPLE): Can't contact LDAP server (-1)\n": (
        ("ldap_sasl_bind(SIMPLE): Can't contact LDAP server (-1)", "ldap_sasl_bind", -1, "", "")
    ),
    "ldap_start_tls: Connect error (-11)\n\tadditional info: (unknown error code)\n": (
        ("ldap_start_tls: Connect error (-11)", "ldap_start_tls", -11, "(unknown error code)", "")
    ),
    "SASL/GSSAPI authentication started\nldap_sasl_interactive_bind: Local error (-2)\n"
    "\tadditional info: SASL(-1): generic failure: GSSAPI Error: No credentials\n": (
        (
            "ldap_sasl_interactive_bind: Local error (-2)",
            "ldap_sasl_interactive_bind",
            -2,
            "SASL(-1): generic failure: GSSAPI Error: No credentials",
            "",
        )
    ),
    "ldap_bind: Invalid credentials (49)\n\tadditional info: 80090308: data 52e, v2580\n": (
        ("ldap_bind: Invalid credentials (49)", "ldap_bind", 49, "80090308: data 52e, v2580", "")
    ),
}


def test_result_and_reason_of_the_server_are_found() -> None:
    for messages, expected in MESSAGES.items():
        found = diagnose(messages)
        assert found is not None, messages
        assert (found.text, found.call, found.code, found.info, found.matched) == expected
    for nothing in ("", "sh: 1: ldapadd: not found", "ldap_add: something else"):
        assert diagnose(nothing) is None


def test_servers_that_a_replica_refers_to_are_found() -> None:
    messages = (
        "ldap_modify: Referral (10)\n\treferrals:\n\t\tldap://a.example/uid=x\n\t\tldaps://b\n"
    )
    found = diagnose(messages)
    assert found is not None
    assert (found.code, found.referrals) == (10, ["ldap://a.example/uid=x", "ldaps://b"])


def test_nothing_was_requested_if_the_bind_failed() -> None:
    for call, before in (("ldap_bind", True), ("ldap_start_tls", True), ("ldap_add", False)):
        found = diagnose(f"{call}: Busy (51)")
        assert found is not None
        assert found.is_before_request is before
