"""Answers to the prompts of a login: in any wording and order, each secret once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from resop.config.clusters import Cluster
from resop.errors import AccessError, LoginRefused, OtpRequired, PasswordExpired
from resop.ssh.login_answers import LoginAnswers, LoginSecrets

PASSWORD, CODE = "s3cret-word", "123456"

Round = Sequence[str | tuple[str, bool]] | str
"""Prompts, without echo unless it is given; a text is an instruction for the next round."""


class Login(NamedTuple):
    """The result of a login."""

    given: list[str]
    answers: LoginAnswers
    ended: bool
    """True if a round was not answered."""

    @property
    def refusal(self) -> type[AccessError]:
        return type(self.answers.refusal())


def log_in(
    rounds: Sequence[Round],
    otp: str | None = None,
    *,
    prompts: dict[str, object] | None = None,
    username: str = "ada",
    name: str = "",
    password: str = PASSWORD,
) -> Login:
    """Answer the rounds of a server until one is not answered."""
    cluster = Cluster.model_validate(
        {"name": "hpc", "address": "login.code.example", "prompts": prompts or {}}
    )
    answers = LoginAnswers(cluster, LoginSecrets(username, password, otp))
    if rounds:
        assert answers.begin()
    given: list[str] = []
    instruction = ""
    for each in rounds:
        if isinstance(each, str):
            instruction = each
            continue
        asked = [(text, False) if isinstance(text, str) else text for text in each]
        reply = answers.answers(name, instruction, asked)
        instruction = ""
        if reply is None:
            return Login(given, answers, ended=True)
        assert len(reply) == len(asked)
        given += reply
    return Login(given, answers, ended=False)


def test_a_lone_hidden_prompt_is_for_the_password() -> None:
    for prompt in (
        *("Salasana:", "Heslo:", "Response:", "Enter your LDAP credentials:", "", ":", "Фраза:"),
        *("Password for ada@CODE.EXAMPLE:", "scotpeter's password:", "(ada@vscode) Password: "),
        *("Grid phrase", "Passwort (hpc.code.example):", "ada@login.code.example: "),
    ):
        assert log_in([[prompt]]).given == [PASSWORD], prompt
    assert log_in([[("Password: ", True)]]).given == [PASSWORD]
    assert log_in([["Password for mccode: "]], username="mccode").given == [PASSWORD]
    assert log_in([["token's password: "]], username="token").given == [PASSWORD]
    assert log_in([["Password for token: "]], username="token").given == [PASSWORD]
    assert log_in([["Password for ada: "]], username="CORP\\ada").given == [PASSWORD]


def test_both_secrets_reach_their_prompts_in_any_order_and_wording() -> None:
    cases: Sequence[Sequence[Round]] = (
        [["Password: "], ["Verification code: "]],
        [["Verification code: "], ["Password: "]],
        [["First Factor: "], ["Second Factor: "]],
        [["First Factor (Current Password): "], ["Second Factor (optional): "]],
        [["First Factor: ", "Second Factor: "]],
        [["Kennwort: ", "Token PIN: "]],
        [["Answer 1: ", "Token: "]],
        [["Token: ", "Answer: "]],
        [["Secret word: "], ["Secret number: "]],
        [["Password (SecurID code follows): "], ["Code: "]],
        [["Enter PASSCODE: "], ["Password: "]],
        [
            ["Password: "],
            "Duo login for ada\n\n 1. Push\n\n",
            [("Passcode or option (1-1): ", True)],
        ],
        [["Welcome to the token ring\nPassword: "], [": "]],
        ["Password", [""], "One-time code", [""]],
        [[], ["Mot de passe : "], [], ["please enter otp: "], []],
        [[("login: ", True)], ["Password: "], [("Code: ", True)]],
    )
    for rounds in cases:
        given = log_in(rounds, CODE).given
        assert sorted(each for each in given if each != "ada") == [CODE, PASSWORD], rounds
        without = log_in(rounds)
        assert CODE not in without.given
        if "optional" not in str(rounds):
            assert without.refusal is OtpRequired and without.ended, rounds


def test_a_single_prompt_for_both_gets_both() -> None:
    for prompt in ("Password + OTP: ", "Password followed by token code:", "Passwort und Code"):
        assert log_in([[prompt]], CODE).given == [PASSWORD + CODE]
        # A client may have put them together itself, in either field.
        assert log_in([[prompt]], PASSWORD + CODE).given == [PASSWORD + CODE]
        alone = log_in([[prompt]])
        assert alone.given == [PASSWORD]
        assert alone.refusal is OtpRequired


def test_an_optional_code_may_be_missing() -> None:
    login = log_in([["First Factor: "], ["Second Factor (optional): "]])
    assert login.given == [PASSWORD, ""]
    assert login.refusal is LoginRefused


def test_nothing_is_sent_of_a_round_that_lacks_the_code() -> None:
    login = log_in([["Password: ", "Token: "]])
    assert (login.given, login.refusal) == ([], OtpRequired)
    assert login.answers.password_method() is None
    assert not login.answers.begin()


def test_the_required_code_comes_with_the_words_of_the_cluster() -> None:
    menu = "Duo two-factor login for ada\n\n 1. Duo Push to XXX-1234\n 2. Phone call\n"
    fault = log_in([["Password: "], menu, ["Passcode or option (1-2): "]]).answers.refusal()
    assert fault.details["prompt"] == (
        "Duo two-factor login for ada 1. Duo Push to XXX-1234 2. Phone call "
        "Passcode or option (1-2):"
    )
    assert fault.details["prompt"] in fault.message
    fault = log_in([["otp-md5 498 wi14321 ext\nResponse: "]]).answers.refusal()
    assert "498 wi14321" in fault.message
    hostile = log_in([["x" * 9000 + " Code\x1b[2J\u202e for\x00: "]]).answers.refusal()
    assert hostile.details["prompt"].isprintable() and len(hostile.message) < 400
    echoed = log_in([["Password: "], [f"{PASSWORD} is right, now the code: "]]).answers.refusal()
    assert PASSWORD not in str(echoed.as_json())


def test_a_prompt_that_comes_again_is_not_answered() -> None:
    cases: Sequence[tuple[Sequence[Round], str | None, list[str]]] = (
        ([["Password: "], ["Password: "]], CODE, [PASSWORD]),
        ([["Password: "], ["Password again: "]], None, [PASSWORD]),
        ([["Phrase: "], ["Phrase: "]], CODE, [PASSWORD]),
        ([["Phrase: "], "Sorry, try again.", ["Your phrase: "]], CODE, [PASSWORD]),
        ([["Phrase: "], ["Permission denied\nYour phrase: "]], CODE, [PASSWORD]),
        ([["Password: "], ["Code: "], ["Code: "]], CODE, [PASSWORD, CODE]),
        ([["Code: "], ["Incorrect.\nCode: "]], CODE, [CODE]),
        ([["Password: "], ["Code: "], ["Password: "]], CODE, [PASSWORD, CODE]),
        ([["A: "], ["B: "], ["C: "], ["D: "]], CODE, [PASSWORD, CODE]),
    )
    for rounds, otp, given in cases:
        login = log_in(rounds, otp)
        assert (login.given, login.ended, login.refusal) == (given, True, LoginRefused), rounds
        assert login.answers.password_method() is None
        assert not login.answers.begin()


def test_a_new_password_is_never_given() -> None:
    cases: Sequence[tuple[Sequence[Round], list[str]]] = (
        ([["New password: "]], []),
        ([["Password: "], ["New password: "]], [PASSWORD]),
        ([["Password: "], ["Current Password: "]], [PASSWORD]),
        ([["Password: "], ["First Factor (Current Password): "]], [PASSWORD]),
        ([["Password: "], ["Password expired. Change it.\n(current) UNIX password: "]], [PASSWORD]),
        ([["Passwort: "], ["Neues Passwort: "]], [PASSWORD]),
        ([["Password: "], ["Code: "], ["Enter your new PIN: "]], [PASSWORD, CODE]),
        ([["Code: "], ["Are you prepared to have the system generate your PIN? (y/n)"]], [CODE]),
    )
    for rounds, given in cases:
        login = log_in(rounds, CODE)
        assert (login.given, login.refusal) == (given, PasswordExpired), rounds
        assert login.answers.password_method() is None
    assert "PIN" in log_in([["New PIN: "]]).answers.refusal().message
    told = log_in([["Password: "], "Password expired. Change your password now.", []])
    assert told.refusal is PasswordExpired


def test_the_next_code_of_a_token_is_another_one() -> None:
    login = log_in([["Enter PASSCODE: "], ["Enter the next tokencode: "]], CODE)
    assert (login.given, login.refusal) == ([CODE], OtpRequired)
    assert "next code" in login.answers.refusal().message
    assert log_in([["Wait, then enter the new tokencode: "]], CODE).given == [CODE]


def test_consent_is_only_given_by_the_site() -> None:
    terms = "Type 'yes' to accept the terms: "
    refused = log_in([[(terms, True)], ["Password: "]], CODE)
    assert (refused.given, refused.refusal) == ([], LoginRefused)
    message = refused.answers.refusal().message
    assert "CLUSTER_PROMPTS" in message and terms.strip() in message
    site: dict[str, object] = {"accept the terms": "text:yes"}
    assert log_in([[(terms, True)], ["Password: "]], prompts=site).given == ["yes", PASSWORD]
    # What is meant by an instruction counts as well.
    asked: Sequence[Round] = ["You must accept the terms.", [("> ", True)], ["Password: "]]
    assert log_in(asked, prompts=site).given == ["yes", PASSWORD]
    assert log_in([[("Press Enter to continue", True)], ["Password:"]]).given == ["", PASSWORD]


def test_a_site_can_name_its_prompts() -> None:
    cases: Sequence[tuple[Sequence[Round], dict[str, object], list[str]]] = (
        ([["Grid-Code: "]], {"grid-code": "password"}, [PASSWORD]),
        ([["Phrase: "], ["Word: "]], {"^phrase:$": "otp", "^word:$": "password"}, [CODE, PASSWORD]),
        # Two modules that ask with the same words: PAM's unix and RADIUS.
        ([["Password: "], ["Password: "]], {"password": ["password", "otp"]}, [PASSWORD, CODE]),
        (
            [["Password: "], ["LDAP Password: "]],
            {"^ldap password": "password"},
            [PASSWORD, PASSWORD],
        ),
        ([["Key: "]], {"key": "password+otp"}, [PASSWORD + CODE]),
        ([[("Who: ", True)], ["Password: "]], {"^who": "username"}, ["ada", PASSWORD]),
        ([["Ready?"], ["Password: "]], {"ready": "enter"}, ["", PASSWORD]),
        ([["Notice\nPassword: "]], {"notice": "text:x"}, ["x"]),
    )
    for rounds, prompts, given in cases:
        assert log_in(rounds, CODE, prompts=prompts).given == given, prompts
    once = log_in([["Phrase: "]] * 3, prompts={"phrase": ["password", "text:again"]})
    assert (once.given, once.ended) == ([PASSWORD, "again"], True)
    no_code = log_in([["Phrase: "]], prompts={"phrase": "otp"})
    assert (no_code.given, no_code.refusal) == ([], OtpRequired)


def test_what_the_server_says_is_in_the_refusal_once_it_has_the_secrets() -> None:
    greeting = "Welcome to the cluster"
    login = log_in([greeting, ["Password: "], "Access denied: your project has ended.", []])
    message = login.answers.refusal().message
    assert "your project has ended" in message and greeting not in message
    locked = log_in([["The account is locked due to 3 failed logins.\nPassword: "]])
    assert "locked due to 3" in locked.answers.refusal().message
    login.answers.note_message(f"you sent {PASSWORD}")
    assert PASSWORD not in login.answers.refusal().message
    assert log_in([["Password: "]]).answers.refusal().message == LoginRefused().message


def test_the_other_method_gets_the_password_once() -> None:
    def answers(*rounds: Round, otp: str | None = None) -> LoginAnswers:
        return log_in(rounds, otp).answers

    fresh = answers()
    assert [fresh.password_method(), fresh.password_method()] == [PASSWORD, None]
    assert fresh.begin(), "AuthenticationMethods password,keyboard-interactive"
    hidden = [("Password: ", False)]
    assert fresh.answers("", "", hidden) == [PASSWORD], "of the same stack of PAM"
    assert fresh.answers("", "", hidden) is None
    wrong = answers()
    assert (wrong.begin(), wrong.password_method(), wrong.begin()) == (True, PASSWORD, False)
    assert answers(["Password: "]).password_method() is None
    # sshd gives the password to any prompt, and some words may stand for a password as well.
    for prompt in ("Zugangscode: ", "Enter PASSCODE: ", "PIN: "):
        assert answers([prompt]).password_method() == PASSWORD, prompt
    for prompt in ("Verification code: ", "One-time password: ", "Second Factor: ", "Your OTP: "):
        assert answers([prompt]).password_method() is None, prompt
    assert answers(["Code: "], ["Code: "], otp=CODE).password_method() is None
    partial = answers(["Code: "], otp=CODE)  # AuthenticationMethods keyboard-interactive,password
    assert partial.password_method() == PASSWORD
    both = answers(["Password: "])
    asked = [both.password_method(prompts_accepted=True) for _ in range(2)]
    assert asked == [PASSWORD, None], "the second method asks for it again"
    refused = answers(["Code: "], otp=CODE)
    assert not refused.begin(), "it is offered again: the code was wrong"
    assert refused.password_method() is None
    unasked = answers()
    assert [unasked.begin(), unasked.begin(), unasked.password_method()] == [True, False, PASSWORD]


@pytest.mark.parametrize("many", [11, 5000])
def test_a_flood_of_prompts_is_refused(many: int) -> None:
    assert log_in([["x"] * many]).refusal is LoginRefused


def test_secrets_are_in_no_representation() -> None:
    assert PASSWORD not in repr(LoginSecrets("ada", PASSWORD, CODE))
