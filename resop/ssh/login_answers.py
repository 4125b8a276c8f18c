"""Answer the prompts of a login: each secret is sent once, and never to a prompt for another one.

What a prompt asks for is decided by the site's own patterns, then by its words, then by order: of
the prompts in unknown words the first one is for the password, the next for the one-time code.
A prompt that comes again means that the answer was wrong: it is not answered again, because every
wrong answer counts where accounts are locked after a few of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from resop.config.clusters import Cluster
from resop.config.login_prompts import TEXT
from resop.errors import AccessError, LoginRefused, OtpRequired, PasswordExpired
from resop.plain_text import shorten
from resop.ssh.prompt_words import (
    Asks,
    clean,
    fold,
    is_certain_code,
    is_optional,
    says_expired,
    says_locked,
    says_wrong,
    what_it_asks,
)

MAX_PROMPTS = 10
"""In one round: no server asks for more at once."""
MAX_SHOWN = 200
MAX_MESSAGES = 5


@dataclass(frozen=True, slots=True)
class LoginSecrets:
    """The user name and the secrets of a login."""

    username: str
    password: str | None
    """None for a login with a key."""
    otp: str | None = None

    def __repr__(self) -> str:
        return f"LoginSecrets({self.username!r})"


@dataclass(frozen=True, slots=True)
class _Prompt:
    """One prompt of a round, cleaned."""

    text: str
    echo: bool
    context: str
    """The name and the instruction of its round, which may hold the question."""
    asks: Asks

    @property
    def question(self) -> str:
        """The last line that says something."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    @property
    def key(self) -> str:
        """A text that is the same when the prompt comes again."""
        return fold(self.question) or fold(self.whole)

    @property
    def whole(self) -> str:
        """Everything that the server says with the prompt."""
        return "\n".join(line.rstrip() for line in f"{self.context}\n{self.text}".splitlines())


@dataclass(slots=True)
class _Given:
    """The answers that were sent so far."""

    password: bool = False
    otp: bool = False
    configured: dict[str, int] = field(default_factory=dict)
    """How often each pattern of the site has answered."""
    prompts: set[str] = field(default_factory=set)
    """The keys of the prompts of earlier rounds."""

    def copy(self) -> _Given:
        return replace(self, configured=dict(self.configured), prompts=set(self.prompts))


class LoginAnswers:
    """The answers of one login."""

    def __init__(self, cluster: Cluster, login: LoginSecrets) -> None:
        self._cluster = cluster
        self._login = login
        self._names = _names(cluster, login.username)
        self._given = _Given()
        self._rounds = 0
        self._has_begun = False
        self._sent_as_method = False
        self._was_accepted = False
        """True if the password is right, and may be sent once more."""
        self._code_may_be_missing = False
        self._messages: list[str] = []
        self.was_asked = False
        self.password_expired = False
        self._fault: AccessError | None = None
        """Why the answers ended."""
        self._may_be_password = False
        """True after a single prompt without an answer, which was taken for one for a code."""

    def begin(self) -> bool:
        """Begin keyboard-interactive; return False if it must not begin (again).

        asyncssh tries it first, and again if it was refused. If the server offers it only after the
        other method, that was accepted: the prompts are for a second factor, or for both again.
        """
        if self._has_begun and self._sent and self._fault is None:
            self._fault = self._refused()
        if self._has_begun or self._fault is not None:
            return False
        self._has_begun, self._was_accepted = True, self._given.password
        return True

    def password_method(self, prompts_accepted: bool = False) -> str | None:
        """Return the password for the method of that name, or None if it must not be sent.

        sshd gives it to whatever PAM asks without echo. So it is sent after a single prompt for a
        code as well, if `code` may be the site's word for a password; and once more after
        `prompts_accepted`, the answers of an earlier method, because then it is right.
        """
        again = self._given.password and not (prompts_accepted and not self._sent_as_method)
        if again or not (self._fault is None or self._may_be_password):
            return None
        self._sent_as_method = True
        self.was_asked = True
        self._given.password = True
        return self._login.password

    def answers(
        self, name: str, instruction: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        """Return the answers of one round, or None: then nothing was sent of it."""
        context = f"{clean(name)}\n{clean(instruction)}"
        self._note(context)
        if not prompts:
            return []
        self.was_asked, self._rounds = True, self._rounds + 1
        before = self._given.copy()
        try:
            if len(prompts) > MAX_PROMPTS:
                raise LoginRefused(f"{self._cluster.name} asks {len(prompts)} questions at once")
            return self._round([self._prompt(text, echo, context) for text, echo in prompts])
        except AccessError as fault:
            self._given, self._fault = before, fault
            return None

    def refusal(self) -> AccessError:
        """Return what a refused login ended with."""
        if self._fault is not None and type(self._fault) is not LoginRefused:
            return self._fault
        if self.password_expired:
            return self._expired()
        if self._code_may_be_missing:
            return OtpRequired()
        return self._fault or self._refused()

    # -- one round

    def _prompt(self, text: str, echo: bool, context: str) -> _Prompt:
        text = clean(text)
        self._note("\n".join(text.splitlines()[:-1]))
        return _Prompt(text, echo, context, what_it_asks(text, context, self._names))

    def _round(self, prompts: list[_Prompt]) -> list[str]:
        single = prompts[0] if self._rounds == 1 and len(prompts) == 1 else None
        self._may_be_password = (
            single is not None and single.asks is Asks.CODE and not is_certain_code(single.whole)
        )
        known = [self._known(prompt) for prompt in prompts]
        # Only now is certain what the prompts in unknown words do not ask for.
        answers = [
            self._guess(prompt) if answer is None else answer
            for prompt, answer in zip(prompts, known, strict=True)
        ]
        self._given.prompts |= {prompt.key for prompt in prompts}
        self._may_be_password = False
        return answers

    def _known(self, prompt: _Prompt) -> str | None:
        """Return the answer to a prompt; None if neither site nor words tell what it asks for."""
        configured = self._configured(prompt)
        if configured is not None:
            return configured
        match prompt.asks:
            case Asks.PASSWORD:
                return self._password()
            case Asks.CODE | Asks.NEXT_CODE:
                return self._code(prompt)
            case Asks.PASSWORD_AND_CODE:
                return self._password_and_code()
            case Asks.CURRENT_PASSWORD if not self._given.password:
                return self._password()
            case Asks.CURRENT_PASSWORD | Asks.NEW_PASSWORD:
                raise self._expired()
            case Asks.NEW_PIN:
                raise PasswordExpired(
                    f"{self._cluster.name} asks for a new PIN of your token: log in with ssh once "
                    "to set it"
                )
            case Asks.USERNAME if prompt.echo:
                return self._login.username
            case Asks.ENTER:
                return ""
            case Asks.CONFIRMATION:
                raise self._unanswerable(prompt)
        return None

    def _guess(self, prompt: _Prompt) -> str:
        """Return the answer to a prompt in unknown words, by order."""
        if prompt.key in self._given.prompts or (self._sent and says_wrong(prompt.whole)):
            raise self._refused()
        if not (self._given.password or prompt.echo):
            return self._password()
        return self._code(prompt)

    # -- answers

    @property
    def _sent(self) -> bool:
        return self._given.password or self._given.otp

    def _password(self) -> str:
        if (self._given.password and not self._was_accepted) or self._login.password is None:
            raise self._refused()
        self._given.password, self._was_accepted = True, False
        return self._login.password

    def _code(self, prompt: _Prompt) -> str:
        if self._login.otp is None:
            if is_optional(prompt.text):
                return ""
            asked = self._shown(prompt.whole)
            raise OtpRequired(
                f"the cluster asks for a one-time code: send it as 'otp'{_quoted(asked)}",
                prompt=asked,
            )
        if self._given.otp:
            if prompt.asks is Asks.NEXT_CODE:
                raise OtpRequired(
                    f"{self._cluster.name} asks for the next code of your token as well: log in "
                    "with ssh once, then here with a new code"
                )
            raise self._refused()
        self._given.otp = True
        return self._login.otp

    def _password_and_code(self) -> str:
        password, otp = self._password(), self._login.otp
        if otp is None:  # the user may have typed both as the password
            self._code_may_be_missing = True
            return password
        if self._given.otp:
            raise self._refused()
        self._given.otp = True
        return otp if password and otp.startswith(password) else password + otp

    def _configured(self, prompt: _Prompt) -> str | None:
        """Return the site's answer to a prompt, if it has one."""
        for text in (prompt.question, prompt.whole):
            for pattern, answers in self._cluster.prompts.items():
                if re.search(pattern, text, re.IGNORECASE | re.MULTILINE):
                    return self._next_of(pattern, answers, prompt)
        return None

    def _next_of(self, pattern: str, answers: Sequence[str], prompt: _Prompt) -> str:
        number = self._given.configured.get(pattern, 0)
        if number >= len(answers):
            raise self._refused()
        self._given.configured[pattern] = number + 1
        answer = answers[number]
        if answer.startswith(TEXT):
            return answer.removeprefix(TEXT)
        # The site knows that this is another prompt: the same answer may be right again.
        self._given.password &= "password" not in answer
        self._given.otp &= "otp" not in answer
        match answer:
            case "password":
                return self._password()
            case "otp":
                return self._code(prompt)
            case "password+otp":
                return self._password_and_code()
            case "username":
                return self._login.username
        return ""

    # -- errors

    def _refused(self) -> LoginRefused:
        if said := " / ".join(self._messages):
            return LoginRefused(f"{self._cluster.name} refused the login{_quoted(said)}")
        if self._login.otp is not None:
            return LoginRefused("the cluster refused this user name, password or one-time code")
        return LoginRefused()

    def _expired(self) -> PasswordExpired:
        return PasswordExpired(f"the password has expired: change it on {self._cluster.name} first")

    def _unanswerable(self, prompt: _Prompt) -> LoginRefused:
        return LoginRefused(
            f"{self._cluster.name} asks at login what this service cannot answer: its "
            f"administrator can set an answer (CLUSTER_PROMPTS){_quoted(self._shown(prompt.whole))}"
        )

    def _note(self, message: str) -> None:
        """Note what the server says: it may tell why the login is refused."""
        # Before the password is sent, such a text is part of the server's greeting.
        if self._given.password and says_expired(message):
            self.password_expired = True
        if self._sent or says_locked(message):
            shown = self._shown(message)
            if shown and shown not in self._messages:
                self._messages = [*self._messages, shown][-MAX_MESSAGES:]

    def note_message(self, message: str) -> None:
        """Note a message that comes beside the prompts."""
        self._note(clean(message))

    def _shown(self, text: str) -> str:
        """Return a server's text for a message, without what could mislead or be a secret."""
        shown = "".join(each if each.isprintable() else " " for each in text)
        secrets = (self._login.password, self._login.otp)
        if any(secret and secret in shown for secret in secrets):
            return ""
        return shorten(" ".join(shown.split()), MAX_SHOWN)


def _quoted(shown: str) -> str:
    return f'. It says: "{shown}"' if shown else ""


def _names(cluster: Cluster, username: str) -> Collection[str]:
    """Return the names that a prompt may contain, longest first."""
    account = re.split(r"[\\/+]", username.partition("@")[0])[-1]
    names = {username, account, cluster.name, cluster.address, cluster.address.partition(".")[0]}
    return sorted(filter(None, names), key=len, reverse=True)
