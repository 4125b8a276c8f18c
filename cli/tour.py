"""Shows the main job done once, through HTTP, as the curl commands a newcomer can repeat."""

from __future__ import annotations

import json
import shlex
import ssl
import urllib.request
from typing import Any
from urllib.parse import urlencode

LINE = "uname -sr | tr a-z A-Z"
SLOW_LINE = "sleep 2; date"


def show(address: str, username: str, password: str) -> None:
    """Log in, run a line, start a task and poll it; print commands and answers.

    Raises OSError when the service does not answer as it should.
    """
    print("\nIn another terminal:\n")
    print(f"  export RESOP={address} PASSWORD={shlex.quote(password)}")
    if address.startswith("https:"):
        print("  alias curl='curl --insecure'   # if no authority has signed its certificate")
    _say("log in: over SSH, as a user of the cluster")
    login = {"username": username, "password": password}
    print(f"  curl -s $RESOP/auth/opn/login -d username={username} -d password=$PASSWORD")
    answer = _ask(address, "/auth/opn/login", login)
    token = answer["output"]["token"]
    _answer(answer)
    print(f"\n  export TOKEN={token}")
    _say("run any shell line and wait for its answer")
    _print_post("/core/opn/run", LINE)
    _answer(_ask(address, "/core/opn/run", {"command": LINE}, token))
    _say("start something long, then ask for the task")
    _print_post("/core/opn/run", SLOW_LINE, "-H 'Prefer: respond-async' ")
    started = _ask(
        address, "/core/opn/run", {"command": SLOW_LINE}, token, {"Prefer": "respond-async"}
    )
    _answer(started)
    path = f"/tasks/{started['task']}?wait=10"
    print(f'\n  curl -s "$RESOP{path}" -H "Authorization: Bearer $TOKEN"')
    _answer(_ask(address, path, None, token))
    _say("what there is to call: GET /operators · OpenAPI: /docs · Ctrl-C ends the service")


def unverified(address: str) -> ssl.SSLContext | None:
    """For our own process on this machine, whose certificate need not be for the name we use."""
    if not address.startswith("https:"):
        return None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _print_post(path: str, line: str, more: str = "") -> None:
    data = shlex.quote(f"command={line}")
    bearer = '-H "Authorization: Bearer $TOKEN"'
    print(f"  curl -s $RESOP{path} {more}{bearer} --data-urlencode {data}")


def _say(text: str) -> None:
    print(f"\n# {text}", flush=True)


def _answer(answer: dict[str, Any]) -> None:
    print(f"  {json.dumps(answer, ensure_ascii=False)}", flush=True)


def _ask(
    address: str,
    path: str,
    options: dict[str, str] | None,
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - our own address
        address + path,
        urlencode(options).encode() if options is not None else None,
        {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})},
    )
    with urllib.request.urlopen(request, timeout=60, context=unverified(address)) as answer:  # noqa: S310 # nosec B310 # our own address
        body: dict[str, Any] = json.load(answer)
    return body
