"""The results of calls: values, and exceptions as themselves."""

from __future__ import annotations

import pickle  # nosec B403: the results are those of the user's own jobs
import platform
from concurrent.futures import Future
from typing import Any

from resop_client.errors import CallFailed, WrongPython
from resop_client.executor import remote


class RemoteTraceback(Exception):
    """Where on the cluster an exception was raised; it is the cause of that exception."""

    def __init__(self, text: str) -> None:
        """`text` is the traceback as Python prints it."""
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def settle(future: Future[Any], content: bytes) -> None:
    """Give a future the result of its call; one that was cancelled stays so."""
    try:
        kind, value, text = pickle.loads(content)  # noqa: S301 # nosec B301
    except BaseException as fault:  # whatever a class does while it is unpickled
        fail(future, CallFailed(f"the result of the call cannot be unpickled here: {fault!r}"))
        return
    if kind == remote.WRONG_VERSION:
        fail(future, wrong_version("the compute node has", value))
    elif kind == remote.ERROR:
        value.__cause__ = RemoteTraceback(text)
        fail(future, value)
    elif not future.done() and future.set_running_or_notify_cancel():
        future.set_result(value)


def fail(future: Future[Any], error: BaseException) -> None:
    """Give a future an exception; one that was cancelled stays so."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)


def wrong_version(who: str, found: str) -> WrongPython:
    """Return the error for a Python of another version."""
    return WrongPython(
        f"{who} Python {found}, and this program runs on Python {platform.python_version()}: "
        "functions are sent as byte code, which needs the same minor version; choose another "
        "Python with python=, modules= or setup="
    )
