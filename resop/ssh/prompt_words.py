"""Recognise by its words what a prompt at login asks for.

Each server words its prompts as it likes, in any language. So this is a help and not a rule:
`login_answers.py` also goes by order, and a site can name its own prompts (CLUSTER_PROMPTS).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from enum import Enum, auto

MAX_CHARACTERS = 500
"""How much of the end of a prompt counts: that is where the question is."""


class Asks(Enum):
    """The things that a prompt can ask for."""

    PASSWORD = auto()
    CODE = auto()
    """A one-time code, passcode or token."""
    PASSWORD_AND_CODE = auto()
    """Both, one behind the other, as the `single_prompt` of SSSD."""
    CURRENT_PASSWORD = auto()
    """The password, before a new one: the first question of a change of password."""
    NEW_PASSWORD = auto()
    NEW_PIN = auto()
    NEXT_CODE = auto()
    """The code after the one that was sent: RSA's next tokencode."""
    USERNAME = auto()
    ENTER = auto()
    """Nothing but the Enter key."""
    CONFIRMATION = auto()
    """Consent to something, which only the site can give."""
    UNKNOWN = auto()


def clean(text: str) -> str:
    """Return the end of a text without terminal sequences and invisible characters."""
    text = _TERMINAL.sub("", text[-MAX_CHARACTERS:])
    visible = (each for each in text if unicodedata.category(each) != "Cf")
    return unicodedata.normalize("NFKC", "".join(visible))


def fold(text: str) -> str:
    """Return a text without case, accents and line breaks, as the words below are compared."""
    decomposed = unicodedata.normalize("NFKD", text)
    kept = "".join(each for each in decomposed if unicodedata.category(each) != "Mn")
    return " ".join(kept.casefold().replace("_", " ").split())


def what_it_asks(prompt: str, instruction: str = "", names: Collection[str] = ()) -> Asks:
    """Return what a cleaned prompt asks for; the `names` in it, of users and hosts, do not count.

    The last line is the question: sshd puts the messages of PAM before it. They, and the
    instruction, count only if the question says nothing.
    """
    lines = _lines(prompt, names)
    context = [*_lines(instruction, names), *lines]
    if _CHALLENGE.search(" ".join(context)):
        return Asks.CODE
    if lines and not _GENERIC.fullmatch(lines[-1]):
        return _asks(lines[-1])
    found = (asks for line in reversed(context) if (asks := _asks(line)) is not Asks.UNKNOWN)
    return next(found, Asks.UNKNOWN)


def _lines(text: str, names: Collection[str]) -> list[str]:
    """Return the lines that say something, folded and without names."""
    lines = [fold(without_names(line, names)) for line in text.splitlines()]
    return [line for line in lines if not _BLANK.fullmatch(line)]


def without_names(text: str, names: Collection[str]) -> str:
    """Return a prompt without the names of users, hosts and realms in it."""
    for pattern in (_PREFIX, _ADDRESS, _OWNER, _HOST):
        text = pattern.sub(" ", text)
    for name in names:
        # A user may be called Token: then only the very same spelling is the name.
        flags = re.IGNORECASE if _by_words(fold(name)) is Asks.UNKNOWN else re.NOFLAG
        word = rf"(?<![0-9A-Za-z_]){re.escape(name)}(?![0-9A-Za-z_])"
        text = re.sub(word, " ", text, flags=flags) if name else text
    return text


def is_certain_code(prompt: str) -> bool:
    """Return True for a cleaned prompt that is for a code, and not a site's word for a password."""
    return bool(_CERTAIN.search(fold(prompt)))


def is_optional(prompt: str) -> bool:
    """Return True for a cleaned prompt that may be left empty."""
    return bool(_OPTIONAL.search(fold(prompt)))


def says_expired(message: str) -> bool:
    """Return True if a cleaned message says that the password, which was right, is too old."""
    return bool(_EXPIRED.search(fold(message)))


def says_wrong(message: str) -> bool:
    """Return True if a cleaned message says that the last answer was wrong."""
    return bool(_WRONG.search(fold(message)))


def says_locked(message: str) -> bool:
    """Return True if a cleaned message says that no answer would be right at the moment."""
    return bool(_LOCKED.search(fold(message)))


def _asks(text: str) -> Asks:
    """Return what a folded line asks for."""
    for pattern, asks in _PHRASES:
        if pattern.search(text):
            return asks
    outside = _BRACKETS.sub(" ", text)
    for part in (outside.partition(" for ")[0], outside, text):
        if (asks := _by_words(part)) is not Asks.UNKNOWN:
            return asks
    return Asks.UNKNOWN


def _by_words(text: str) -> Asks:
    if _ONE_TIME.search(text):  # a one-time password is a code
        return Asks.CODE
    password, code = _PASSWORD.search(text), _CODE.search(text)
    if password and code:
        return Asks.PASSWORD if password.start() <= code.start() else Asks.CODE
    if password or code:
        return Asks.PASSWORD if password else Asks.CODE
    return Asks.USERNAME if _USERNAME.search(text) else Asks.UNKNOWN


def _words(*words: str) -> str:
    """Return a pattern for any of these patterns, which are compared in folded text."""
    return f"(?:{fold('|'.join(words))})"


_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# -- names
_PREFIX = re.compile(r"^\s*[(\[][^()\[\]\s]*@[^()\[\]\s]*[)\]]")  # (user@host), as ssh shows it
_ADDRESS = re.compile(r"[0-9A-Za-z\u00c0-\u024f._+\\$/-]*@[0-9A-Za-z\u00c0-\u024f._\[\]-]*")
_OWNER = re.compile(r"[0-9A-Za-z\u00c0-\u024f._+\\$-]+['’´`]s\b")
_HOST = re.compile(r"\b(?:[0-9a-z-]+(?:\.[0-9a-z-]+)+|[0-9A-Z-]+(?:\.[0-9A-Z-]+)+)\b")

# -- words
_PASSWORD_WORDS = _words(
    *("pass ?words?", "passwd", "passphrase", "pass phrase", "first factor", "1st factor"),
    *("passwort", "kennwort", "passwoord", "wachtwoord", "wagwoord", "mot de passe"),
    *("contraseña", "contrasenya", "contrasinal", "clave de acceso", "senha", "palavra.?passe"),
    *("parola", "lösenord", "passord", "adgangskode", "adgangsord", "kodeord", "lykilorð"),
    *("salasana", "tunnussana", "parool", "salasõna", "parole", "slaptažodi", "hasło"),
    *("heslo", "jelszó", "geslo", "lozinka", "лозинка", "zaporka", "пароль", "парола"),
    *("κωδικ.ς προσβασης", "συνθηματικο", "şifre", "pasahitza", "cyfrinair", "pasfhocal"),
    *("fjalëkalim", "kata ?sandi", "kata laluan", "mật khẩu", "pasvorto", "құпиясөз"),
    *("密码", "密碼", "口令", "パスワード", "暗証", "암호", "비밀번호", "패스워드"),
    *("סיסמ", "كلمة المرور", "كلمة السر", "گذرواژه", "رمز عبور", "पासवर्ड", "รหัสผ่าน"),
    *("პაროლ", "գաղտնաբառ"),
)
_ONE_TIME_WORDS = _words(
    *(r"one.?time", r"single.?use", r"\b[a-z]{0,4}otp\b", "dynamic pass", "einmal", "eenmalig"),
    *("usage unique", "un solo uso", "de um uso", "uso único", "monouso", "engång"),
    *("kertakäyttö", "egyszerhasznalatos", "egyszeri", "jednoraz", "jednokrat", "enkratn"),
    *("одноразов", "еднократн", "tek kullanım", "tek seferlik", "μιας χρησης"),
    *("一次性", "动态", "動態", "ワンタイム", "일회용", "חד.?פעמי", "لمرة واحدة", "یکبار"),
)
_CODE_WORDS = _words(
    *(r"codes?\b", r"tokens?\b", r"\bpin\b", "authenticator", "authentifikator", "yubi"),
    *(r"\b2fa\b", r"\bmfa\b", "two.?factor", "multi.?factor", "second factor", "2nd factor"),
    *("second authentication", "zweiter? faktor", "second facteur", "deuxième facteur"),
    *(
        "segundo factor",
        "segundo fator",
        "secondo fattore",
        "securid",
        r"\bfob\b",
        r"\bchallenge\b",
    ),
    *(r"\bdigits?\b", r"\bsms\b", r"\bs/key\b", r"\bskey\b", "verification"),
    *(r"\bkod", r"koden?\b", "koodi", "código", "codice", "jeton", "токен", r"\bкод"),
    *(r"κωδικ.ς\b", "验证码", "驗證碼", "令牌", "コード", "トークン", "인증", "코드", "토큰"),
    *(r"\bקוד\b", r"\bرمز\b", "mã xác", "รหัส"),
)
_USERNAME_WORDS = _words(
    *(r"\buser.?(?:name|id)?\b", r"\blogin(?: name| as| id)?\b", r"\baccount(?: name)?\b"),
    *("benutzer", "nom d.utilisateur", "identifiant", "usuario", "usuário", "nome utente"),
    *("gebruikersnaam", "användarnamn", "brukernavn", "brugernavn", "uzytkownik", "uživatel"),
    *("käyttäjä", "имя пользователя", "логин", "用户名", "使用者名稱", "ユーザー", "사용자"),
)
_NEW_WORDS = _words(
    *(r"\bnew\b", r"\bneue[sn]?\b", r"\bnouveau", r"\bnueva", r"\bnova\b", r"\bnuova"),
    *(r"\bnieuw\w*", r"\bnytt?\b", r"\bny\b", r"\buusi\b", r"\bnowe\b", r"\bnové\b"),
    *(r"\búj\b", r"\byeni\b", "новый", "nouă", "新", "새", r"\b(?:choose|set) an?\b"),
)
_CURRENT_WORDS = _words(
    *(r"\bcurrent\b", r"\bold\b", r"\baktuell\w*", r"\baltes\b", r"\bactuel\w*", r"\bancien\w*"),
    *(r"\bactual\b", r"\bantigua\b", r"\batual\b", r"\battuale\b", r"\bhuidige?"),
    *(r"\bnuvarande\b", "текущ", "стар", "当前", "當前", "現在", "현재"),
)

_PASSWORD = re.compile(_PASSWORD_WORDS)
_ANY_CODE = f"(?:{_ONE_TIME_WORDS}|{_CODE_WORDS})"
_CODE = re.compile(_ANY_CODE)
_ONE_TIME = re.compile(_ONE_TIME_WORDS)
_CERTAIN = re.compile(
    rf"{_ONE_TIME_WORDS}|verification|authenti|factor|\b[2m]fa\b|yubi|securid|\bsms\b|digits"
    r"|challenge|\bs/key\b|\botp-|duo|подтверждения|验证|驗證|認証|確認|인증"
)
_USERNAME = re.compile(_USERNAME_WORDS)
_BRACKETS = re.compile(r"[(\[{<][^()\[\]{}<>]*[)\]}>]")
_BLANK = re.compile(r"[\W_]*")
_GENERIC = re.compile(r"(?:your |enter |please )*(?:response|answer|reply|input|value)?\W*")
# RFC 2289 and S/Key: the number of the response in a list, and the seed of that list.
_CHALLENGE = re.compile(r"\b(?:otp-[a-z0-9]+|s/key) \d+ \S+")
_OPTIONAL = re.compile(
    r"\boption(?:al|nel|ell)|\bopcional|\bopzionale|\bfreiwillig|\bleave (?:it )?(?:blank|empty)"
)

# -- phrases
# Not s/n alone, which is also a serial number.
_YES_OR_NO = r"\b(?:y(?:es)?|ja?|o(?:ui)?|si) ?(?:/|\||or) ?n(?:o|on|ein)?\b|[(\[]s/n[)\]]"
_SAY_YES = (
    r"\b(?:type|enter|say|write)\W+(?:yes|i agree|accept)\b|\b(?:do you|i) (?:accept|agree)\b"
)
_PRESS = r"\b(?:press|hit|push|pressing)\W+(?:the )?(?:enter|return|any key)\b|\breturn to continue"
_TERMS = r"\b(?:accept|agree|consent|terms|conditions|policy)"
_BETWEEN = r"(?:\W+(?:\w+\W+){0,2}?)?.{0,2}?"  # a word or two, or a syllable where none are spaced
_AND = r"\W*(?:\+|&|\band\b|\bund\b|\bet\b|\by\b|\bplus\b|followed by|gefolgt von|suivi d).*?"
_PHRASES = [
    (re.compile(pattern), asks)
    for asks, pattern in (
        (
            Asks.NEW_PIN,
            rf"{_NEW_WORDS}{_BETWEEN}pin\b|\bown pin\b|\bsystem.generated? pin|\bgenerate.* pin\b",
        ),
        (Asks.CONFIRMATION, f"{_YES_OR_NO}|{_SAY_YES}|^(?=.*(?:{_PRESS})).*{_TERMS}"),
        (Asks.ENTER, f"^(?!.*(?:{_PASSWORD_WORDS}|{_ANY_CODE})).*(?:{_PRESS})"),
        (Asks.NEXT_CODE, rf"\b(?:next|new|nachste[nrs]?) (?:\w+ )?\w*{_CODE_WORDS}"),
        (
            Asks.PASSWORD_AND_CODE,
            f"^(?:(?!{_ONE_TIME_WORDS}).)*?{_PASSWORD_WORDS}{_AND}{_ANY_CODE}",
        ),
        (Asks.CODE, rf"{_PASSWORD_WORDS}\W*[(\[]\W*{_ANY_CODE}\w*\W*$"),
        (
            Asks.CURRENT_PASSWORD,
            f"{_CURRENT_WORDS}{_BETWEEN}{_PASSWORD_WORDS}|{_PASSWORD_WORDS} {_CURRENT_WORDS}",
        ),
        (
            Asks.NEW_PASSWORD,
            rf"{_NEW_WORDS}{_BETWEEN}{_PASSWORD_WORDS}|{_PASSWORD_WORDS}\W*[(\[]\W*{_NEW_WORDS}",
        ),
    )
]
"""In this order: what is more special comes first."""

# -- messages
_ENDED = "(?:expired|abgelaufen|expiré|caducado|expirado|scaduta|verlopen)"
_EXPIRED = re.compile(
    rf"{_PASSWORD_WORDS} (?:(?:has|is|ist|a|ha) )?(?:been )?{fold(_ENDED)}"
    f"|change (?:your|the) {_PASSWORD_WORDS}"
    f"|{_PASSWORD_WORDS} (?:must be changed|change required)"
)
_WRONG = re.compile(
    r"\b(?:incorrect|wrong|invalid|denied|failed|failure|rejected|try again|not match|mismatch"
    r"|sorry|falsch|fehlgeschlagen|errat[oa]|onjuist|неверн)"
)
_LOCKED = re.compile(
    r"\b(?:locked|disabled|blocked|denied|suspended|maintenance|not allowed|expired|gesperrt)\b"
)
