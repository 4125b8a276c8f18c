"""`python -m bench.files`: files up and down beside OpenSSH's own sftp, in one run.

Each round sends and fetches a large file, and a folder of small ones, with `sftp` and with `curl`
through the service, in turns; ratios are taken within a round. Beside them the memory of API and
worker: before, the most while one transfer runs and while ten do, and after. At last a command of
one user, alone and while another lists a large folder again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.contest import Contest
from bench.load import Client, Measured, closed_loop, post, requests
from bench.site import OTHER, USER, Site, site

PROCESSES = {"API": "api.main", "worker": "worker.main"}
AT_ONCE = 10
SAMPLE_SECONDS = 0.02
SMALL_BYTES = 2000
"""Of each small file."""

Memory = dict[str, float]
"""MiB of each process."""


class Clients:
    """The two clients, with one file to send."""

    def __init__(self, here: Site, folder: Path, size: int, small: int) -> None:
        self._here = here
        self._key = folder / "key"
        self._known_hosts = here.ssh.known_hosts
        self.file = folder / "file"
        with self.file.open("wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
        self.small = folder / "small"
        self.small.mkdir()
        for number in range(small):
            (self.small / f"{number}").write_bytes(os.urandom(SMALL_BYTES))
        self._tar, self._folder = folder / "tar", folder / "fetched"
        self._names = map(str, itertools.count())
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)]
        subprocess.run(keygen, check=True)
        here.ssh.authorize(USER, self._key.with_suffix(".pub").read_text())

    def sftp_up(self) -> None:
        """Send it with sftp."""
        self._sftp(f"put {self.file} by-sftp")

    def sftp_down(self) -> None:
        """Fetch it with sftp."""
        self._sftp("get by-sftp /dev/null")

    def sftp_folder_up(self) -> None:
        """Send the small files with sftp."""
        name = next(self._names)
        self._sftp(f"mkdir {name}\nput -R {self.small}/. {name}")

    def sftp_folder_down(self) -> None:
        """Fetch them with sftp."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._sftp(f"get -R 0 {self._folder}")

    def our_folder_up(self) -> None:
        """Pack them with tar, and send that through the service."""
        subprocess.run(["tar", "cf", self._tar, "-C", self.small, "."], check=True)
        self._curl(f"{next(self._names)}", "--upload-file", str(self._tar), kind="folders")

    def our_folder_down(self) -> None:
        """Fetch them through the service, and unpack them."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        self._curl("0", "--output", str(self._tar), kind="folders")
        subprocess.run(["tar", "xf", self._tar, "-C", self._folder], check=True)

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

    def _curl(self, name: str, *words: str, kind: str = "files") -> None:
        token = f'header = "Authorization: Bearer {self._here.token}"\n'
        address = f"http://127.0.0.1:{self._here.port}/{kind}/{name}"
        silent = ["--silent", "--show-error", "--fail", "--noproxy", "*"]
        to = [] if "--output" in words else ["--output", "/dev/null"]
        command = ["curl", "--config", "-", *silent, *to, *words, address]
        subprocess.run(command, input=token.encode(), check=True)


def file_contests(clients: Clients, mib: int) -> list[Contest]:
    """Its file of so many MiB up and down; it is there on both sides before."""
    ways = {"up": (clients.our_up, clients.sftp_up), "down": (clients.our_down, clients.sftp_down)}
    for way in ways["up"]:
        way()
    return [
        Contest(
            f"a file of {mib} MiB {direction}",
            "0.8 of sftp's rate",
            "rate",
            partial(_once, ours),
            {"sftp": partial(_once, theirs)},
        )
        for direction, (ours, theirs) in ways.items()
    ]


async def _once(work: Callable[[], None]) -> Measured:
    """One call of what blocks and raises if it fails."""

    async def call() -> bool:
        await asyncio.to_thread(work)
        return True

    return await closed_loop([call], 1)


def resident(here: Site) -> Memory:
    """What API and worker hold."""
    memory = here.memory()
    return {name: memory[module] for name, module in PROCESSES.items()}


def shown(memory: Memory) -> str:
    """For people."""
    return ", ".join(f"{name} {each:.0f} MiB" for name, each in memory.items())


@contextlib.contextmanager
def peak(here: Site) -> Iterator[Memory]:
    """The most that each holds inside, afterwards."""
    most, over = resident(here), threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            for name, each in resident(here).items():
                most[name] = max(most[name], each)

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
    """Measure transfers, and print."""
    small = len(list(clients.small.iterdir())) * SMALL_BYTES
    pairs = {
        "up": (clients.sftp_up, clients.our_up, size),
        "down": (clients.sftp_down, clients.our_down, size),
        "small files up": (clients.sftp_folder_up, clients.our_folder_up, small),
        "small files down": (clients.sftp_folder_down, clients.our_folder_down, small),
    }
    for theirs, ours, _ in pairs.values():  # so that connections and caches are there
        theirs()
        ours()
    print(f"before: {shown(resident(here))}")
    print(f"{'':>16} | {'sftp MB/s':>10} | {'resop MB/s':>10} | {'ratio (min-max)':>18} | most")
    for name, (theirs, ours, amount) in pairs.items():
        times = []
        with peak(here) as most:
            for _ in range(rounds):
                times.append((seconds(theirs), seconds(ours)))
        sftp, resop = (amount / 1e6 / statistics.median(each) for each in zip(*times, strict=True))
        ratios = [by_sftp / by_us for by_sftp, by_us in times]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{name:>16} | {sftp:>10.1f} | {resop:>10.1f} | {spread:>18} | {shown(most)}")
    for name, work in {"up": clients.our_up, "down": clients.our_down}.items():
        with peak(here) as most:
            took = seconds(lambda work=work: at_once(work))  # type: ignore[misc]
        rate = AT_ONCE * size / 1e6 / took
        print(f"{AT_ONCE} at once, {name}: {rate:.0f} MB/s together; most: {shown(most)}")
    print(f"after: {shown(resident(here))}")


async def listed(here: Site, entries: int, calls: int) -> None:
    """Measure one user's command alone, and while another lists a large folder; print."""
    folder = here.ssh.home(OTHER) / "large"
    folder.mkdir(0o755)
    for number in range(entries):
        (folder / f"{number}").touch()
    command = Client(here.port, post("/utils/cmd/id", here.token, b"{}"), b'"success":true')
    body = b'{"path": "large"}'
    listing = post("/utils/opn/list_folder", here.log_in_other(), body)
    lister = Client(here.port, listing, f'"total":{entries}'.encode())
    if not await lister.call():  # the first one also opens connections
        raise RuntimeError("the folder was not listed")
    await lister.close()  # the service closes it if nothing comes for a while
    alone = await requests([command], calls)
    listings = Measured(1)

    async def again_and_again() -> None:
        while True:
            began = time.perf_counter()
            if await lister.call():
                listings.good.append(time.perf_counter() - began)
            else:
                listings.failed += 1

    others = asyncio.create_task(again_and_again())
    beside = await requests([command], calls)
    others.cancel()
    await asyncio.gather(others, return_exceptions=True)
    await lister.close()
    listings.good.sort()
    for name, each in {"alone": alone, f"beside lists of {entries}": beside}.items():
        p50, p99 = each.percentile(50), each.percentile(99)
        print(f"a command {name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, {each.failed} failed")
    count, p50 = len(listings.good), listings.percentile(50)
    print(f"a list: p50 {p50:.0f} ms; {count} were made, {listings.failed} failed")
    print(f"after: {shown(resident(here))}")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="bench.files", description=__doc__)
    parser.add_argument("-s", "--size", type=int, default=1024, help="of the file, in MiB")
    parser.add_argument("-f", "--files", type=int, default=2000, help="small files in a folder")
    parser.add_argument("-e", "--entries", type=int, default=100_000, help="of the folder listed")
    parser.add_argument("-n", "--calls", type=int, default=300, help="commands beside the lists")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, site(Path(name)) as here:
        size = arguments.size << 20
        clients = Clients(here, Path(name), size, arguments.files)
        measure(here, clients, size, arguments.rounds)
        asyncio.run(listed(here, arguments.entries, arguments.calls))


if __name__ == "__main__":
    main()
