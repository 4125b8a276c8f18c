"""One run of the program: its settings, its client of the service, and where it writes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from resop_client.cli import formats
from resop_client.cli.columns import Column, columns_of
from resop_client.cli.formats import Format

if TYPE_CHECKING:
    import httpx2
    from rich.console import Console

    from resop_client import LoginStore, Resop
    from resop_client.cli.schema import Schema
    from resop_client.progress import Progress

WIDE = 10_000


@dataclass
class Invocation:
    """The options that every command has, and what commands need of the world around them."""

    format: Format | None = None
    jq: str | None = None
    quiet: bool = False
    verbose: bool = False
    profile: str | None = None
    schema: Schema | None = None
    """The schema of the service, once it was needed."""
    secrets: set[str] = field(default_factory=set)
    """Values that `-v` does not show."""
    opened: ExitStack = field(default_factory=ExitStack)
    """Connections and files that the end of this run closes."""

    @cached_property
    def store(self) -> LoginStore:
        """The stored logins."""
        from resop_client.login_store import default_store

        return default_store()

    @cached_property
    def hpc(self) -> Resop:
        """The client of the service of this run. Raises NotLoggedIn."""
        return self.connect()

    def connect(self, url: str | None = None, token: str | None = None) -> Resop:
        """Return a client of the service at an address, or of the stored login."""
        import httpx2

        from resop_client._sync.client import Resop

        # The timeouts are given with each request; -v may be read after the client is made.
        hooks: dict[str, list[Callable[..., Any]]] = {
            "request": [self._show_request],
            "response": [self._show_response],
        }
        http = httpx2.Client(event_hooks=hooks, follow_redirects=False)
        self.opened.callback(http.close)
        return Resop(url, token, profile=self.profile, store=self.store, http=http)

    @cached_property
    def out(self) -> Console:
        """The console of results."""
        from rich.console import Console

        # What is not shown on a terminal is as wide as it needs.
        width = None if sys.stdout.isatty() else WIDE
        return Console(width=width, highlight=False, markup=False, emoji=False)

    @cached_property
    def err(self) -> Console:
        """The console of notes, progress and errors."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def wants_table(self) -> bool:
        """True if results are for people."""
        return self.format in (None, "table") and self.jq is None

    def note(self, text: str) -> None:
        """Tell the person something that is no result."""
        if not self.quiet:
            click.echo(text, err=True)

    def show(self, value: Any, columns: Sequence[Column] | None = None) -> None:
        """Write a result in the chosen format; `columns` are those of its table."""
        if self.jq is not None:
            from resop_client.cli.jq_filter import filtered

            formats.write(filtered(value, self.jq))
        elif not self.wants_table:
            formats.write(formats.as_text(value, self.format or "json"))
        elif isinstance(value, str):
            formats.write(value if value.endswith("\n") or not value else f"{value}\n")
        elif isinstance(value, list) and all(isinstance(each, dict) for each in value):
            self._show_table(value, columns or columns_of(value))
        elif isinstance(value, dict):
            from resop_client.cli.tables import print_members

            print_members(self.out, value)
        else:
            formats.write("".join(f"{each}\n" for each in formats.rows_of(value)))

    def _show_table(self, rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> None:
        from resop_client.cli.tables import print_table

        if not rows:
            self.note("(none)")
            return
        if hidden := print_table(self.out, rows, columns):
            noun = "column does" if hidden == 1 else "columns do"
            self.note(f"({hidden} {noun} not fit; -o json has everything)")

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show on a terminal that something lasts, from its second second on."""
        if self.quiet or not sys.stderr.isatty():
            yield
            return
        from resop_client.cli.progress_display import Waiting

        with Waiting(self.err, text):
            yield

    def bar(self, label: str, *, size: bool = False) -> AbstractContextManager[Progress]:
        """Return a progress bar, which shows nothing where no terminal is; `size`: of bytes."""
        if self.quiet or not sys.stderr.isatty():
            return nullcontext(_ignore)
        from resop_client.cli.progress_display import Bar

        return Bar(self.err, label, size=size)

    def _show_request(self, request: httpx2.Request) -> None:
        if not self.verbose:
            return
        from resop_client.cli.curl_text import curl_line

        request.extensions["resop_began"] = time.monotonic()
        click.echo(f"+ {curl_line(request, self.secrets)}", err=True)

    def _show_response(self, response: httpx2.Response) -> None:
        if not self.verbose:
            return
        began = response.request.extensions.get("resop_began", time.monotonic())
        milliseconds = 1000 * (time.monotonic() - began)
        click.echo(f"  # {response.status_code} after {milliseconds:.0f} ms", err=True)


def _ignore(done: float, total: float) -> None:
    """Show nothing."""


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)
