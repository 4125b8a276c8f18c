"""The encoding of messages: each reads back as it was, and nothing else is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resop.messaging.messages import (
    KINDS,
    MAX_MESSAGE_BYTES,
    MAX_RESULT_CHARACTERS,
    BatchReady,
    CancelRequested,
    LoggedOut,
    LoginAccepted,
    LoginOffer,
    LoginRequest,
    LoginResult,
    MalformedMessage,
    Message,
    Resync,
    TaskEnded,
    TasksChanged,
    decode,
    encode,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Resync),
    st.builds(BatchReady),
    st.builds(
        TaskEnded, TEXTS, TEXTS, TEXTS, st.booleans(), st.none() | st.dictionaries(TEXTS, JSON)
    ),
    st.builds(TasksChanged, st.lists(TEXTS)),
    st.builds(CancelRequested, TEXTS),
    st.builds(LoggedOut, TEXTS),
    st.builds(LoginOffer, TEXTS, TEXTS, TEXTS),
    st.builds(LoginAccepted, TEXTS, TEXTS, TEXTS),
    st.builds(LoginRequest, TEXTS, TEXTS, TEXTS),
    st.builds(LoginResult, TEXTS, TEXTS),
)
GARBAGE = {
    "empty": b"",
    "random bytes": bytes(range(256)),
    "words of an earlier release": b"01a2-task acted ada@hpc {}",
    "a number": b"7",
    "a list": b"[]",
    "no type": b"{}",
    "an unknown type": b'{"type": "Shutdown"}',
    "a type that is a list": b'{"type": ["TaskEnded"]}',
    "a missing field": b'{"type": "TaskEnded"}',
    "a number for a text": b'{"type": "TaskEnded", "task": 7}',
    "a text for a list": b'{"type": "TasksChanged", "tasks": "t1"}',
    "a list for a result": b'{"type": "TaskEnded", "task": "t1", "result": [1]}',
    "null for a text": b'{"type": "LoggedOut", "credential": null}',
    "half a character": b'{"type": "LoggedOut", "credential": "\\ud83d"}',
    "endless nesting": b"[" * 100_000,
    "UTF-16": json.dumps({"type": "BatchReady"}).encode("utf-16"),
    "a huge number": b"1" * 10_000,
    "a huge message": encode(CancelRequested("t")) + b" " * MAX_MESSAGE_BYTES,
}


@given(MESSAGES)
def test_message_reads_back_as_it_was(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary())
def test_random_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(data)


@pytest.mark.slow
@given(
    st.sampled_from([kind.__name__ for kind in KINDS]),
    st.dictionaries(
        st.sampled_from(["task", "tasks", "result", "username", "login", "read_only"]) | TEXTS, JSON
    ),
)
def test_any_json_of_a_known_type_is_read_or_refused(name: str, values: dict[str, object]) -> None:
    try:
        message = decode(json.dumps({**values, "type": name}).encode())
    except MalformedMessage as fault:
        assert name in str(fault)
    else:
        assert type(message).__name__ == name
        assert decode(encode(message)) == message


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_malformed_message_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(data)


def test_refusal_does_not_show_the_content() -> None:
    with pytest.raises(MalformedMessage) as refusal:
        decode(b'{"type": "LoginRequest", "login": {"password": "hunter2"}, "worker": ["hunter2"]}')
    assert "hunter2" not in str(refusal.value)
    assert str(refusal.value) == "LoginRequest: invalid encrypted, login, worker"


def test_field_of_a_later_release_is_ignored() -> None:
    assert decode(b'{"type": "LoggedOut", "credential": "c", "reason": "x"}') == LoggedOut("c")


def test_every_kind_has_its_channel() -> None:
    channels = {kind.CHANNEL for kind in KINDS if kind is not LoginRequest}
    assert len(channels) == len(KINDS) - 2  # Resync shares one
    assert LoginRequest("l", "w1", "x").channel == "resop:worker.w1"


@pytest.mark.parametrize(("characters", "travels"), [(-20, True), (0, False), (10**6, False)])
def test_long_result_is_left_to_the_database(characters: int, travels: bool) -> None:
    result = {"output": "x" * (MAX_RESULT_CHARACTERS + characters)}
    message = TaskEnded("t1", "ada", "hpc", read_only=True, result=result)
    expected = message if travels else TaskEnded("t1", "ada", "hpc", read_only=True)
    assert decode(encode(message)) == expected


def test_result_may_hold_times_and_half_characters() -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    message = TaskEnded("t1", result={"ended_at": moment, "output": "\ud83d"})
    expected = {"ended_at": "2026-03-01T00:00:00+00:00", "output": "\ud83d"}
    assert decode(encode(message)) == TaskEnded("t1", result=expected)
