"""Send any request of the API, and print the answer."""

from __future__ import annotations

import sys

import click

from resop_client.cli import formats
from resop_client.cli.command import Command
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.cli.schema_options import read_value
from resop_client.cli.service_commands import METHODS
from resop_client.transport import answer_error, answer_json


@click.command(cls=Command)
@click.argument("method", type=click.Choice(METHODS, case_sensitive=False))
@click.argument("path")
@click.option("-d", "--data", metavar="JSON", help="The body: JSON, @FILE, or @- for stdin.")
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of the query; repeatable.",
)
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME: VALUE")
@pass_invocation
def api(
    invocation: Invocation,
    method: str,
    path: str,
    data: str | None,
    params: tuple[str, ...],
    headers: tuple[str, ...],
) -> None:
    """Send a request with your login, and print the answer.

    \b
    Examples:
      resop api GET /limits
      resop api POST /core/opn/run -d '{"command": "date"}' --jq .output.stdout
      resop api GET /tasks -p tag=ice -p limit=5
    """
    query: dict[str, list[str]] = {}
    for each in params:
        name, equals, value = each.partition("=")
        if not equals:
            raise click.BadParameter(f"{each!r} is not NAME=VALUE", param_hint="-p")
        query.setdefault(name, []).append(value)
    fields = dict(_header(each) for each in headers)
    content = None if data is None else read_value(data).encode()
    if content is not None:
        fields = {"Content-Type": "application/json", **fields}
    response = invocation.hpc.connection.request(
        method.upper(),
        path if path.startswith("/") else f"/{path}",
        params=query,
        headers=fields,
        content=content,
    )
    if response.status_code >= 400:
        raise answer_error(response)
    if method.upper() == "HEAD":
        invocation.show(dict(response.headers))
    elif response.headers.get("content-type", "").startswith("application/json"):
        if invocation.wants_table:
            formats.write(formats.as_text(answer_json(response), "json"))
        else:
            invocation.show(answer_json(response))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(response.content)
        sys.stdout.buffer.flush()


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise click.BadParameter(f"{text!r} is not NAME: VALUE", param_hint="-H")
    return name.strip(), value.strip()
