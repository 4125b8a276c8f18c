"""First steps, or a tour of the demo node: shown by `resop up` once the service is ready.

The tour does the main job once, over HTTP, and prints each request as a curl command to repeat.
"""

from __future__ import annotations

import json
import shlex
import ssl
import urllib.request
from typing import Any
from urllib.parse import urlencode

from resop.config.clusters import Cluster

LINE = "uname -sr | tr a-z A-Z"
SLOW_LINE = "sleep 2; date"
INSECURE = "  alias curl='curl --insecure'   # if no authority has signed its certificate"
FIRST_STEPS = """
Open {address} in a browser, and use your account on {cluster} ({host}).
Or log in from another terminal, with its user name in place of NAME:

  export RESOP={address}
{insecure}  read -rs PASSWORD   # type the password of that account
  curl -s $RESOP/auth/opn/login -d username=NAME --data-urlencode "password=$PASSWORD"

Press Ctrl-C to stop the service."""


def show_first_steps(address: str, cluster: Cluster) -> None:
    """Print how to log in to the configured cluster."""
    insecure = f"{INSECURE}\n" if address.startswith("https:") else ""
    print(
        FIRST_STEPS.format(
            address=address, cluster=cluster.name, host=cluster.address, insecure=insecure
        ),
        flush=True,
    )


def show(address: str, username: str, password: str) -> None:
    """Log in, run a line of shell, start a task and poll it; print requests and responses.

    Raises OSError when the service does not answer as it should.
    """
    print(f"\nOpen {address} in a browser and log in as {username} with this password: {password}")
    print("Or, in another terminal:\n")
    print(f"  export RESOP={address} PASSWORD={shlex.quote(password)}")
    if address.startswith("https:"):
        print(INSECURE)
    _print_heading("Log in, over SSH, as a user of the cluster:")
    login = {"username": username, "password": password}
    print(f"  curl -s $RESOP/auth/opn/login -d username={username} -d password=$PASSWORD")
    response = _request(address, "/auth/opn/login", login)
    token = response["output"]["token"]
    _print_response(response)
    print(f"\n  export TOKEN={token}")
    _print_heading("Run any line of shell and wait for its result:")
    _print_post("/core/opn/run", LINE)
    _print_response(_request(address, "/core/opn/run", {"command": LINE}, token))
    _print_heading("Start something long, then ask for the task:")
    _print_post("/core/opn/run", SLOW_LINE, "-H 'Prefer: respond-async' ")
    started = _request(
        address, "/core/opn/run", {"command": SLOW_LINE}, token, {"Prefer": "respond-async"}
    )
    _print_response(started)
    path = f"/tasks/{started['task']}?wait=10"
    print(f'\n  curl -s "$RESOP{path}" -H "Authorization: Bearer $TOKEN"')
    _print_response(_request(address, path, None, token))
    _print_heading("List all actions: $RESOP/operators. The API as OpenAPI: $RESOP/docs.")
    print("# This demo node has no Slurm: docs/testbed.md describes one to try it on.")
    print("\nPress Ctrl-C to stop the service.", flush=True)


def unverified(address: str) -> ssl.SSLContext | None:
    """Return a TLS context for our own process, whose certificate may be for another name."""
    if not address.startswith("https:"):
        return None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _print_post(path: str, line: str, header: str = "") -> None:
    data = shlex.quote(f"command={line}")
    bearer = '-H "Authorization: Bearer $TOKEN"'
    print(f"  curl -s $RESOP{path} {header}{bearer} --data-urlencode {data}")


def _print_heading(text: str) -> None:
    print(f"\n# {text}", flush=True)


def _print_response(response: dict[str, Any]) -> None:
    print(f"  {json.dumps(response, ensure_ascii=False)}", flush=True)


def _request(
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
    with urllib.request.urlopen(request, timeout=60, context=unverified(address)) as response:  # noqa: S310 # nosec B310 # our own address
        body: dict[str, Any] = json.load(response)
    return body
