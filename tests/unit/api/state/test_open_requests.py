"""The open requests of one user leave room for those of others."""

import contextlib

import pytest

from api.state.open_requests import LongRequest, OpenRequests
from resop.config.settings import Settings
from resop.errors import LimitReached, ServiceBusy
from resop.security.tokens import Token


def token(username: str = "alice", cluster: str = "hpc", credential: str = "one") -> Token:
    return Token(username=username, cluster=cluster, credential=credential, key_share="", expires=0)


def make(**settings: int) -> OpenRequests:
    return OpenRequests(Settings(**settings))  # type: ignore[arg-type]


def test_limit_is_per_user_and_kind() -> None:
    requests = make(STREAMS_PER_USER=2)
    with contextlib.ExitStack() as stack:
        for credential in ("one", "two"):  # more logins are no more streams
            stack.enter_context(requests.hold(LongRequest.STREAM, token(credential=credential)))
        with pytest.raises(LimitReached, match="event streams") as refused:
            stack.enter_context(requests.hold(LongRequest.STREAM, token(credential="three")))
        assert refused.value.retryable
        for other in (token("bob"), token(cluster="other")):
            stack.enter_context(requests.hold(LongRequest.STREAM, other))
        stack.enter_context(requests.hold(LongRequest.WAIT, token()))
    with requests.hold(LongRequest.STREAM, token()):
        pass
    assert not requests._by_user and not any(requests._open.values())


def test_half_of_the_connections_stay_free() -> None:
    requests = make(CONNECTIONS=20, TRANSFERS_PER_USER=8)
    with contextlib.ExitStack() as stack:
        for number in range(10):
            stack.enter_context(requests.hold(LongRequest.TRANSFER, token(f"user{number}")))
        with pytest.raises(ServiceBusy, match="of all users"):
            stack.enter_context(requests.hold(LongRequest.TRANSFER, token("another")))


def test_request_that_fails_is_no_longer_counted() -> None:
    requests = make(WAITS_PER_USER=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), requests.hold(LongRequest.WAIT, token()):
            raise ZeroDivisionError
