"""Audit entries as messages of RFC 5424, over UDP, TCP and a Unix socket."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from resop.storage import audit_stream
from resop.storage.audit_stream import AuditStream, AuditSyslog
from resop.storage.models import RequestOutcome
from tests.support.audit import audit_entry
from tests.support.ports import HOST

MESSAGE = re.compile(
    r"<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z \S+ resop \d+ audit - (\{.*\})\n?"
)
Read = Callable[[], str]
Server = tuple[str, Read]
"""The address of a server, and what returns its next message."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture(params=["udp", "tcp", "unix"])
def server(request: pytest.FixtureRequest, stack: ExitStack, tmp_path: Path) -> Server:
    kinds = {
        "udp": (socket.AF_INET, socket.SOCK_DGRAM),
        "tcp": (socket.AF_INET, socket.SOCK_STREAM),
        "unix": (socket.AF_UNIX, socket.SOCK_DGRAM),
    }
    listener = stack.enter_context(socket.socket(*kinds[request.param]))
    listener.settimeout(30)
    if request.param == "unix":
        listener.bind(str(tmp_path / "log"))
        return f"unix://{tmp_path}/log", lambda: listener.recv(1 << 16).decode("ascii")
    listener.bind((HOST, 0))
    address = f"{request.param}://{HOST}:{listener.getsockname()[1]}"
    if request.param == "udp":
        return address, lambda: listener.recv(1 << 16).decode("ascii")
    listener.listen()
    return address, _lines_of(listener, stack)


def _lines_of(listener: socket.socket, stack: ExitStack) -> Read:
    lines: list[Iterator[str]] = []

    def read() -> str:
        if not lines:
            connection, _ = listener.accept()
            connection.settimeout(30)
            stack.enter_context(connection)
            lines.append(iter(stack.enter_context(connection.makefile(encoding="ascii"))))
        return next(lines[0])

    return read


def test_each_entry_is_one_message(server: Server) -> None:
    address, read = server
    receiver = AuditSyslog(address)
    sent = [
        audit_entry(path="/a\nb\u2028c", username="x" * 60),
        audit_entry(outcome=RequestOutcome.REFUSED, error="Forbidden"),
        audit_entry(options={"text": "y" * 9000}, digest="d1"),
    ]
    for entry in sent:
        receiver.send(entry)
    found = [MESSAGE.fullmatch(read()) for _ in sent]
    receiver.close()
    assert all(found)
    priorities = [int(each[1]) for each in found if each]
    assert priorities == [86, 84, 86]  # authpriv with info or warning
    first, _, long = (json.loads(each[2]) for each in found if each)
    assert first["path"] == "/a\nb\u2028c"
    assert (long["options"], long["shortened"], long["digest"]) == (None, True, "d1")


def test_server_that_starts_later_gets_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_stream, "RETRY_SECONDS", 0.05)
    stream = AuditStream("AUDIT_SYSLOG", AuditSyslog(f"unix://{tmp_path}/log"))
    stream.start()
    stream.put([audit_entry(path=f"/{number}").model_dump() for number in range(3)])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.settimeout(30)
        server.bind(str(tmp_path / "log"))
        messages = [server.recv(1 << 16).decode() for _ in range(3)]
        stream.stop()
    assert ['"/0"' in messages[0], '"/2"' in messages[2], stream.lost] == [True, True, 0]
