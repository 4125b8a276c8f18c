"""Prompts at login: words of many languages and products, without the names in them."""

from __future__ import annotations

import time

from resop.ssh.prompt_words import (
    MAX_CHARACTERS,
    Asks,
    clean,
    is_optional,
    says_expired,
    says_locked,
    says_wrong,
    what_it_asks,
)

NAMES = ["ada", "mccode"]

PROMPTS = {
    Asks.PASSWORD: """
        Password:|Salasana:|Heslo:|Jelszó:|암호:|Parola:|Passord:|Adgangskode:|Kodeord:|PAROLA:
        Κωδικός πρόσβασης:|Mot de passe :|Contraseña de ada:|Lösenord:|Пароль:|Kennwort für ada:
        ŞİFRE:|Hasło:|Wachtwoord:|비밀번호:|Kata sandi:|密码：|パスワード:|请输入密码：|סיסמה:
        Password for ada@CODE.EXAMPLE:|Password for barcode1@EXAMPLE.ORG:|scotpeter's password:
        (ada@vscode-login) Password:|[ada@token1] Password:|Password for ada@TOKENRING.EXAMPLE:
        Password for mccode:|MCCODE's password:|Password for tokenring.example:|ada のパスワード:
        Password (SecurID code follows):|First Factor:|TACACS Password:|Enter LDAP Password:
        Password [none]:|Login password:|Enter password for OTP-Cluster:|Enter passphrase:
        كلمة المرور:|login1.code.example: password
    """,
    Asks.CODE: """
        Second Factor:|Second Factor (optional):|Verification code:|Enter PASSCODE:|Your OTP:
        Enter your token code:|Enter_your_2FA_Token:|One-time password (OATH) for `alice':
        Passcode or option (1-2):|YubiKey for `ada':|Einmalpasswort:|Mot de passe à usage unique :
        一次性密码:|ワンタイムパスワード:|OTP password:|Your 6 digits:|Token PIN:|Code:|PIN:|Kód:
        otp-md5 498 wi14321 ext|s/key 97 fw13894|Bestätigungscode:|Código de verificación:|Token:
        Код подтверждения:|验证码：|Jednorazowe hasło:|Password (OTP):|Password [token]:|SMS code
        Engångslösenord:|Kertakäyttösalasana:|Please enter the code sent to +49***12:|Pinkode:
        Authenticator code for ada:|Verification code (or password):|Wachtwoord (eenmalig):
        (ada@login1) Verification code:|Enter your Microsoft verification code|DUO passcode:
        please enter otp:|Press Enter for a push, or enter your code:|OTP challenge 48159:
        Code of token S/N 4711:|        Enter PIN and the token's digits:
    """,
    Asks.PASSWORD_AND_CODE: """
        Password + OTP:|Password and token code:|Enter your password followed by the token code:
        Passwort und Code:|Password (and OTP):|Password+Token:|Password + one-time password:
        Please enter password + OTP token value:
    """,
    Asks.CURRENT_PASSWORD: """
        (current) UNIX password:|Current Password:|First Factor (Current Password):|Old password:
        Aktuelles Passwort:|当前密码:|Mot de passe actuel :
    """,
    Asks.NEW_PASSWORD: """
        New password:|New UNIX password:|Retype new password:|Neues Passwort:|新密码:|Új jelszó:
        Nouveau mot de passe :|新しいパスワード:|Enter new LDAP password:|Новый пароль:
        Choose a new password:|Password (new):
    """,
    Asks.NEW_PIN: """
        Enter your new PIN:|Enter a new PIN having from 4 to 8 digits:|Re-enter new PIN:|New PIN:
        Are you prepared to have the system generate your PIN? (y or n) [n]:
    """,
    Asks.NEXT_CODE: """
        Wait for the tokencode to change, then enter the new tokencode:|Enter Next Tokencode:
        Please enter the next code from your token:|Next PASSCODE:
    """,
    Asks.USERNAME: "login:|Username:|User name:|Login as:|Benutzername:|ユーザー名:",
    Asks.ENTER: """
        Press Enter to continue|Press <Enter> to continue...|Hit return to proceed
        Press any key to continue|Insert your passkey device, then press ENTER.
    """,
    Asks.CONFIRMATION: """
        Do you accept the terms (yes/no)?|Continue? [y/N]|Type 'yes' to accept:|Accept? (y or n)
        Do you want to change your password now? (yes/no)|To accept the terms, press Enter
        Do you agree with the conditions?|Press Enter to accept|¿Acepta? (s/n)|Akzeptieren (j/n)?
    """,
    Asks.UNKNOWN: """
        Response:|Enter your LDAP credentials:|Prompt 1:|:|Secret word:|Answer
        Enter something for ada@code.example:
    """,
}


def test_prompts_are_told_apart_by_their_words() -> None:
    wrong = []
    for asks, texts in PROMPTS.items():
        for text in filter(None, (each.strip() for each in texts.replace("\n", "|").split("|"))):
            found = what_it_asks(clean(f"{text} "), "", NAMES)
            if found is not asks:
                wrong.append((text, asks.name, found.name))
    assert wrong == []


def test_invisible_characters_and_terminal_sequences_do_not_count() -> None:
    for text in (
        "\u200bPass\u200bword:\u00a0\u200b",
        "\u202e\u2067Password\u2069\u202c:",
        "\x1b[1;31mPassword\x1b[0m:",
        "\ufeffＰａｓｓｗｏｒｄ：",
        "Password\u00ad:\r\n",
    ):
        assert what_it_asks(clean(text)) is Asks.PASSWORD, ascii(text)
    decomposed = "Contrasen\u0303a:"
    assert what_it_asks(clean(decomposed)) is Asks.PASSWORD


def test_messages_before_the_question_count_only_if_it_says_nothing() -> None:
    for prompt, instruction, asks in (
        ("Your token works from Monday on.\nPassword: ", "", Asks.PASSWORD),
        ("Your password is too short.\nVerification code: ", "", Asks.CODE),
        ("Enter your verification code\n: ", "", Asks.CODE),
        (": ", "Password", Asks.PASSWORD),
        ("", "Please enter your passcode.\n(6 of them)\n", Asks.CODE),
        ("Response: ", "Password", Asks.PASSWORD),
        ("Secret word: ", "Never tell anybody the code", Asks.UNKNOWN),
        ("otp-md5 498 wi14321 ext\nPassword: ", "", Asks.CODE),
        ("Response: ", "s/key 97 fw13894", Asks.CODE),
        ("Challenge: 83628\nResponse: ", "", Asks.CODE),
    ):
        assert what_it_asks(clean(prompt), clean(instruction)) is asks, (prompt, instruction)


def test_messages_are_understood() -> None:
    for text in (
        "Password expired. Change your password now.",
        "You are required to change your password immediately (password expired).",
        "Ihr Passwort ist abgelaufen",
        "Votre mot de passe a expiré.",
        "WARNING: Your password has expired.",
    ):
        assert says_expired(clean(text)), text
    assert not says_expired("Warning: your password will expire in 3 days")
    assert says_locked("The account is locked due to 3 failed logins.")
    assert says_wrong("Incorrect passcode. Please try again.")
    assert not says_wrong("Welcome") and not says_locked("Welcome")
    assert is_optional("Second Factor (optional): ") and not is_optional("Passcode or option (1-2)")


def test_no_prompt_takes_long() -> None:
    for part in ("a", "password", "new ", "a.b-", "@", "code password ", "( ", "password + ", "y/"):
        text = part * (100_000 // len(part))
        begin = time.process_time()
        what_it_asks(clean(text), clean(text), NAMES * 3)
        assert time.process_time() - begin < 0.5, part
    assert len(clean("x" * 100_000)) == MAX_CHARACTERS
