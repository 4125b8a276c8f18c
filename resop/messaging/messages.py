"""The messages between processes over Redis pub/sub, with their channels and their encoding.

A message is only a hint to re-read the database, which is authoritative. A lost message costs
time, nothing else: a process that may have missed one gets a `Resync`. Any client of Redis can
publish anything, so `decode` refuses everything that is not exactly one of these messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field, Strict, StrictBool, TypeAdapter, ValidationError

MAX_MESSAGE_BYTES = 1 << 20
"""A longer message is not decoded: it would hold up the process that receives it."""
MAX_RESULT_CHARACTERS = 16_384
"""A longer result does not travel with TaskEnded: every API process receives every message."""


Text = Annotated[str, Strict(), Field(max_length=1 << 16)]


class MalformedMessage(ValueError):
    """Bytes that are none of the messages below; the text says why, without their content."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message; its class decides the channel, except for a message to one worker."""

    CHANNEL: ClassVar[str]

    @property
    def channel(self) -> str:
        """The channel that the message is published on."""
        return self.CHANNEL


M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Resync(Message):
    """Messages may have been missed, or many things have changed: re-read the database.

    A subscriber passes it to every callback when it has lost Redis and when it is connected
    again. As a message it says that many tasks have ended.
    """

    CHANNEL = "resop:ended"


@dataclass(frozen=True, slots=True)
class TaskEnded(Message):
    """A task has ended, or a batch."""

    CHANNEL = "resop:ended"

    task: Text
    username: Text = ""
    """The owner of the task, with `cluster`; empty if unknown."""
    cluster: Text = ""
    read_only: StrictBool = False
    """True if the task cannot have changed the answers of others."""
    result: dict[Text, Any] | None = None
    """The columns of the ended task, secrets masked, if they are short enough."""


@dataclass(frozen=True, slots=True)
class TasksChanged(Message):
    """Running tasks have new steps, output, log lines or progress."""

    CHANNEL = "resop:changed"

    tasks: list[Text]


@dataclass(frozen=True, slots=True)
class CancelRequested(Message):
    """The worker that runs a task must cancel it."""

    CHANNEL = "resop:cancel"

    task: Text


@dataclass(frozen=True, slots=True)
class BatchReady(Message):
    """A batch may have tasks to dispatch."""

    CHANNEL = "resop:batch"


@dataclass(frozen=True, slots=True)
class LoggedOut(Message):
    """A credential was revoked."""

    CHANNEL = "resop:logged-out"

    credential: Text


@dataclass(frozen=True, slots=True)
class LoginOffer(Message):
    """An API process looks for a worker that holds the session of a login."""

    CHANNEL = "resop:login-offer"

    login: Text
    cluster: Text
    public_key: Text
    """The API's public key, hex: see `resop.security.login_handover`."""


@dataclass(frozen=True, slots=True)
class LoginAccepted(Message):
    """A worker would hold the session of an offered login."""

    CHANNEL = "resop:login-accepted"

    login: Text
    worker: Text
    public_key: Text
    """The worker's public key, hex."""


@dataclass(frozen=True, slots=True)
class LoginRequest(Message):
    """An API process hands the login to the worker that it has chosen."""

    login: Text
    worker: Text
    encrypted: Text

    @property
    def channel(self) -> str:
        """The channel of the chosen worker."""
        return worker_channel(self.worker)


@dataclass(frozen=True, slots=True)
class LoginResult(Message):
    """A worker has opened the session of a login, or failed to."""

    CHANNEL = "resop:login-result"

    login: Text
    encrypted: Text


def worker_channel(worker: str) -> str:
    """Return the channel that a worker is subscribed to for as long as it runs."""
    return f"resop:worker.{worker}"


KINDS: tuple[type[Message], ...] = (
    *(Resync, TaskEnded, TasksChanged, CancelRequested, BatchReady, LoggedOut),
    *(LoginOffer, LoginAccepted, LoginRequest, LoginResult),
)
_ADAPTERS: Mapping[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in KINDS}


def encode(message: Message) -> bytes:
    """Return a message as JSON; a result of more than MAX_RESULT_CHARACTERS is left out."""
    data = _to_json({"type": type(message).__name__, **_values(message)})
    if (
        len(data) > MAX_RESULT_CHARACTERS
        and isinstance(message, TaskEnded)
        and message.result
        and len(_to_json(message.result)) > MAX_RESULT_CHARACTERS
    ):
        return encode(replace(message, result=None))
    return data.encode()


def decode(data: bytes) -> Message:
    """Return the message that `data` encodes; raises MalformedMessage for anything else."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"{len(data)} bytes, at most {MAX_MESSAGE_BYTES} are allowed")
    try:
        values = json.loads(data.decode())
    except (ValueError, RecursionError) as fault:
        raise MalformedMessage(f"not JSON in UTF-8 ({type(fault).__name__})") from None
    name = values.pop("type", None) if isinstance(values, dict) else None
    adapter = _ADAPTERS.get(name) if isinstance(name, str) else None
    if adapter is None:
        raise MalformedMessage("not an object with a known 'type'")
    try:
        message: Message = adapter.validate_python(values)
    except ValidationError as fault:
        places = {".".join(map(str, error["loc"][:1])) for error in fault.errors()}
        raise MalformedMessage(f"{name}: invalid {', '.join(sorted(places))}") from None
    return message


def _values(message: Message) -> dict[str, Any]:
    return {each.name: getattr(message, each.name) for each in fields(message)}


def _to_json(value: Any) -> str:
    return json.dumps(value, default=_iso_time, separators=(",", ":"))


def _iso_time(moment: datetime) -> str:
    return moment.isoformat()
