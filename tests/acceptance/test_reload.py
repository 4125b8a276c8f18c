"""`resop up --reload` serves a changed operator, and reports a broken one."""

import contextlib
import signal
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.ports import HOST, free_port
from tests.support.service import ENVIRON, RESOP, write_config
from tests.support.services import Process, eventually

OPERATION = """from resop import Shell, operation

@operation
def {name}(shell: Shell) -> None: ...
"""


@dataclass
class Reloads:
    """The output of a service, and its paths after each change of its operators."""

    before: set[str]
    broken: set[str]
    after: set[str]
    output: str


def begin_in_background(folder: Path, pool: Executor) -> Future[Reloads]:
    """Change an operator of a service in the background."""
    return pool.submit(change_operators, folder / "reload")


def change_operators(home: Path) -> Reloads:
    """Break an operation of a running service, and repair it with another one beside it."""
    operations, port = home / "operators/mysite/operations", free_port()
    operations.mkdir(parents=True)
    (operations / "hello.py").write_text(OPERATION.format(name="hello"))
    settings = {
        "OPERATORS_PATH": home / "operators",
        "CLUSTER_ADDRESS": HOST,
        "PORT": port,
        "DATA_DIR": home / "data",
    }
    write_config(home, settings)

    client = httpx.Client(base_url=f"http://{HOST}:{port}", timeout=30, trust_env=False)

    def paths() -> set[str]:
        with contextlib.suppress(httpx.TransportError):
            document = client.get("/openapi.json").json()
            return {path for path in document["paths"] if path.startswith("/mysite/")}
        return set()

    process = Process([*RESOP, "up", "--reload"], home / "up.log", ENVIRON, cwd=home)
    try:
        process.until(lambda: "resop is ready" in process.output(), "resop up")
        before = paths()
        (operations / "hello.py").write_text("def hello(:\n")
        process.until(lambda: "continuing with" in process.output(), "the report of the fault")
        broken = paths()
        (operations / "hello.py").write_text(OPERATION.format(name="hello"))
        (operations / "bye.py").write_text(OPERATION.format(name="bye"))
        process.until(lambda: "are loaded again" in process.output(), "the second load")
        eventually(lambda: "/mysite/opn/bye" in paths())
        return Reloads(before, broken, paths(), process.output())
    finally:
        client.close()
        process.stop(signal.SIGINT)


def test_changed_operators_are_served_and_broken_ones_reported(
    background: dict[str, Future[Reloads]],
) -> None:
    reloads = background[__name__].result()
    assert "/mysite/opn/hello" in reloads.before
    assert reloads.broken == reloads.before
    assert {"/mysite/opn/hello", "/mysite/opn/bye"} <= reloads.after
    assert "hello.py changed\n" in reloads.output
    assert "operations/hello.py:1: invalid syntax" in reloads.output
    assert "Traceback" not in reloads.output
