"""`python -m bench.files`: a large file up and down beside OpenSSH's own sftp, in one run.

Each round sends and fetches the file with `sftp` and with `curl` through the service, in turns;
ratios are taken within a round. Beside them the memory of the API process: before, the most while
one transfer runs and while ten do, and after.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.site import USER, Site, site

API = "api.main"
AT_ONCE = 10
SAMPLE_SECONDS = 0.02


class Clients:
    """The two clients, with one file to send."""

    def __init__(self, here: Site, folder: Path, size: int) -> None:
        self._here = here
        self._key = folder / "key"
        self._known_hosts = here.ssh.known_hosts
        self.file = folder / "file"
        with self.file.open("wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)]
        subprocess.run(keygen, check=True)
        here.ssh.authorize(USER, self._key.with_suffix(".pub").read_text())

    def sftp_up(self) -> None:
        """Send it with sftp."""
        self._sftp(f"put {self.file} by-sftp")

    def sftp_down(self) -> None:
        """Fetch it with sftp."""
        self._sftp("get by-sftp /dev/null")

    def our_up(self, name: str = "by-resop") -> None:
        """Send it through the service."""
        self._curl(name, "--upload-file", str(self.file))

    def our_down(self, name: str = "by-resop") -> None:
        """Fetch it through the service."""
        self._curl(name)

    def _sftp(self, line: str) -> None:
        options = [f"UserKnownHostsFile={self._known_hosts}", "GlobalKnownHostsFile=none"]
        given = [word for option in options for word in ("-o", option)]
        key = ["-F", "none", "-i", str(self._key), "-P", str(self._here.ssh.port)]
        command = ["sftp", "-q", "-b", "-", *given, *key, f"{USER}@{self._here.ssh.host}"]
        subprocess.run(command, input=line.encode(), check=True, stdout=subprocess.DEVNULL)

    def _curl(self, name: str, *words: str) -> None:
        token = f'header = "Authorization: Bearer {self._here.token}"\n'
        address = f"http://127.0.0.1:{self._here.port}/files/{name}"
        silent = ["--silent", "--show-error", "--fail", "--noproxy", "*", "--output", "/dev/null"]
        command = ["curl", "--config", "-", *silent, *words, address]
        subprocess.run(command, input=token.encode(), check=True)


@contextlib.contextmanager
def peak(here: Site) -> Iterator[list[float]]:
    """The most MiB that the API process holds inside, in the list afterwards."""
    most, over = [here.memory()[API]], threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            most[0] = max(most[0], here.memory()[API])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def at_once(work: Callable[[str], None]) -> None:
    """Ten of it, each with a file of its own."""
    threads = [threading.Thread(target=work, args=(f"file-{n}",)) for n in range(AT_ONCE)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def measure(here: Site, clients: Clients, size: int, rounds: int) -> None:
    """Measure and print."""
    pairs = {
        "up": (clients.sftp_up, clients.our_up),
        "down": (clients.sftp_down, clients.our_down),
    }
    for theirs, ours in pairs.values():  # so that connections and caches are there
        theirs()
        ours()
    print(f"API process before: {here.memory()[API]:.0f} MiB")
    print(f"{'':>5} | {'sftp MB/s':>10} | {'resop MB/s':>10} | {'ratio (min-max)':>18} | most MiB")
    for name, (theirs, ours) in pairs.items():
        times = []
        with peak(here) as most:
            for _ in range(rounds):
                times.append((seconds(theirs), seconds(ours)))
        sftp, resop = (size / 1e6 / statistics.median(each) for each in zip(*times, strict=True))
        ratios = [by_sftp / by_us for by_sftp, by_us in times]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{name:>5} | {sftp:>10.0f} | {resop:>10.0f} | {spread:>18} | {most[0]:.0f}")
    for name, work in {"up": clients.our_up, "down": clients.our_down}.items():
        with peak(here) as most:
            took = seconds(lambda work=work: at_once(work))  # type: ignore[misc]
        rate = AT_ONCE * size / 1e6 / took
        print(f"{AT_ONCE} at once, {name}: {rate:.0f} MB/s together, most {most[0]:.0f} MiB")
    print(f"API process after: {here.memory()[API]:.0f} MiB")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="bench.files", description=__doc__)
    parser.add_argument("-s", "--size", type=int, default=1024, help="of the file, in MiB")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, site(Path(name)) as here:
        size = arguments.size << 20
        measure(here, Clients(here, Path(name), size), size, arguments.rounds)


if __name__ == "__main__":
    main()
