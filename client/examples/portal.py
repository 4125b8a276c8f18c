"""A portal in 50 lines: the nodes of the cluster and the last jobs, on http://127.0.0.1:8080.

RESOP_TOKEN is an API key that may only read, so that nobody who sees the page can do anything.
"""

import os
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from resop_client import Record, Resop, ResopError

PAGE = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="10">
<title>Cluster</title><h1>Cluster</h1><h2>Nodes</h2>{nodes}<h2>Jobs</h2>{jobs}"""
NODE_COLUMNS = ("name", "state", "cpus", "memory")
JOB_COLUMNS = ("id", "user", "name", "state", "reason")
hpc = Resop()


def table(rows: list[Record], columns: tuple[str, ...]) -> str:
    """Return a table in HTML."""
    head = "".join(f"<th>{escape(name)}" for name in columns)
    lines = ("".join(f"<td>{escape(str(row.get(name) or ''))}" for name in columns) for row in rows)
    return f"<table border><tr>{head}<tr>{'<tr>'.join(lines)}</table>"


class Portal(BaseHTTPRequestHandler):
    """Answers with the page."""

    def do_GET(self) -> None:
        """Send the page; the service asks the cluster once, however many look."""
        try:
            nodes = table(hpc.slurm.nodes(), NODE_COLUMNS)
            status, page = 200, PAGE.format(nodes=nodes, jobs=table(hpc.slurm.jobs(), JOB_COLUMNS))
        except ResopError as error:
            status, page = 502, f"<h1>The cluster does not answer</h1>{escape(str(error))}"
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page.encode())


if __name__ == "__main__":
    address = ("127.0.0.1", int(os.environ.get("PORT", "8080")))
    ThreadingHTTPServer(address, Portal).serve_forever()
