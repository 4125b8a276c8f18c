"""`python -m bench.files`: transfer files beside OpenSSH's own sftp, in one run.

Each round sends and fetches a large file, and a folder of small files, with `sftp` and through the
service with `curl`, in turn; ratios are formed within a round. Also printed: the memory of API and
worker before and after, and its peak during one transfer and during ten concurrent transfers; and
one user's command on the idle service, then while another user lists a large folder repeatedly.
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

from bench.comparison import Comparison
from bench.load import HttpClient, Measurement, closed_loop, post_request, run_clients
from bench.site import OTHER_USER, USER, MeasuredSite, start_site

PROCESSES = {"API": "api.main", "worker": "worker.main"}
CONCURRENT_TRANSFERS = 10
MEMORY_SAMPLE_SECONDS = 0.02
SMALL_FILE_BYTES = 2000

ResidentMemory = dict[str, float]
"""Resident MiB of each process."""


class TransferClients:
    """sftp and curl, with the files that they transfer."""

    def __init__(self, site: MeasuredSite, folder: Path, size: int, small_files: int) -> None:
        """Write a file of `size` bytes and `small_files` small ones into `folder`."""
        self._site = site
        self._key = folder / "key"
        self._known_hosts = site.ssh.known_hosts
        self.file = folder / "file"
        with self.file.open("wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
        self.small_files = folder / "small"
        self.small_files.mkdir()
        for number in range(small_files):
            (self.small_files / f"{number}").write_bytes(os.urandom(SMALL_FILE_BYTES))
        self._tar, self._download_folder = folder / "tar", folder / "fetched"
        self._names = map(str, itertools.count())
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)]
        subprocess.run(keygen, check=True)
        site.ssh.authorize(USER, self._key.with_suffix(".pub").read_text())

    def upload_by_sftp(self) -> None:
        """Send the file with sftp."""
        self._sftp(f"put {self.file} by-sftp")

    def download_by_sftp(self) -> None:
        """Fetch the file with sftp."""
        self._sftp("get by-sftp /dev/null")

    def upload_folder_by_sftp(self) -> None:
        """Send the small files with sftp."""
        name = next(self._names)
        self._sftp(f"mkdir {name}\nput -R {self.small_files}/. {name}")

    def download_folder_by_sftp(self) -> None:
        """Fetch the small files with sftp."""
        shutil.rmtree(self._download_folder, ignore_errors=True)
        self._sftp(f"get -R 0 {self._download_folder}")

    def upload_folder(self) -> None:
        """Pack the small files with tar, and send the archive through the service."""
        subprocess.run(["tar", "cf", self._tar, "-C", self.small_files, "."], check=True)
        self._curl(f"{next(self._names)}", "--upload-file", str(self._tar), kind="folders")

    def download_folder(self) -> None:
        """Fetch the small files through the service, and unpack the archive."""
        shutil.rmtree(self._download_folder, ignore_errors=True)
        self._download_folder.mkdir()
        self._curl("0", "--output", str(self._tar), kind="folders")
        subprocess.run(["tar", "xf", self._tar, "-C", self._download_folder], check=True)

    def upload(self, name: str = "by-resop") -> None:
        """Send the file through the service."""
        self._curl(name, "--upload-file", str(self.file))

    def download(self, name: str = "by-resop") -> None:
        """Fetch the file through the service."""
        self._curl(name)

    def _sftp(self, batch: str) -> None:
        settings = [f"UserKnownHostsFile={self._known_hosts}", "GlobalKnownHostsFile=none"]
        options = [word for setting in settings for word in ("-o", setting)]
        key = ["-F", "none", "-i", str(self._key), "-P", str(self._site.ssh.port)]
        command = ["sftp", "-q", "-b", "-", *options, *key, f"{USER}@{self._site.ssh.host}"]
        subprocess.run(command, input=batch.encode(), check=True, stdout=subprocess.DEVNULL)

    def _curl(self, name: str, *arguments: str, kind: str = "files") -> None:
        token = f'header = "Authorization: Bearer {self._site.token}"\n'
        address = f"http://127.0.0.1:{self._site.port}/{kind}/{name}"
        silent = ["--silent", "--show-error", "--fail", "--noproxy", "*"]
        output = [] if "--output" in arguments else ["--output", "/dev/null"]
        command = ["curl", "--config", "-", *silent, *output, *arguments, address]
        subprocess.run(command, input=token.encode(), check=True)


def transfer_comparisons(clients: TransferClients, mib: int) -> list[Comparison]:
    """Compare uploads and downloads of the clients' file with sftp; uploads it by both first."""
    transfers = {
        "up": (clients.upload, clients.upload_by_sftp),
        "down": (clients.download, clients.download_by_sftp),
    }
    for upload in transfers["up"]:
        upload()
    return [
        Comparison(
            f"a file of {mib} MiB, {direction}",
            "0.8 of sftp's rate",
            "rate",
            partial(_measure_once, resop),
            {"sftp": partial(_measure_once, sftp)},
        )
        for direction, (resop, sftp) in transfers.items()
    ]


async def _measure_once(work: Callable[[], None]) -> Measurement:
    """Measure one call of a blocking function, which raises if it fails."""

    async def call() -> bool:
        await asyncio.to_thread(work)
        return True

    return await closed_loop([call], 1)


def resident_memory(site: MeasuredSite) -> ResidentMemory:
    """Return the resident memory of API and worker."""
    memory = site.memory()
    return {name: memory[module] for name, module in PROCESSES.items()}


def format_memory(memory: ResidentMemory) -> str:
    """Format the memory of the processes for display."""
    return ", ".join(f"{name} {mib:.0f} MiB" for name, mib in memory.items())


@contextlib.contextmanager
def peak_memory(site: MeasuredSite) -> Iterator[ResidentMemory]:
    """Sample the memory of API and worker; on exit the result holds the peak of each."""
    peak, over = resident_memory(site), threading.Event()

    def sample() -> None:
        while not over.wait(MEMORY_SAMPLE_SECONDS):
            for name, mib in resident_memory(site).items():
                peak[name] = max(peak[name], mib)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield peak
    finally:
        over.set()
        sampler.join()


def time_call(work: Callable[[], None]) -> float:
    """Call a function and return the seconds it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def transfer_concurrently(transfer: Callable[[str], None]) -> None:
    """Run CONCURRENT_TRANSFERS transfers at once, each of a different file."""
    threads = [
        threading.Thread(target=transfer, args=(f"file-{number}",))
        for number in range(CONCURRENT_TRANSFERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure_transfers(site: MeasuredSite, clients: TransferClients, size: int, rounds: int) -> None:
    """Measure transfers beside sftp and print a table of them."""
    small = len(list(clients.small_files.iterdir())) * SMALL_FILE_BYTES
    pairs = {
        "up": (clients.upload_by_sftp, clients.upload, size),
        "down": (clients.download_by_sftp, clients.download, size),
        "small files up": (clients.upload_folder_by_sftp, clients.upload_folder, small),
        "small files down": (clients.download_folder_by_sftp, clients.download_folder, small),
    }
    for sftp, resop, _ in pairs.values():  # open connections and fill caches
        sftp()
        resop()
    print(f"before: {format_memory(resident_memory(site))}")
    print(f"{'':>16} | {'sftp MB/s':>10} | {'resop MB/s':>10} | {'ratio (min-max)':>18} | peak")
    for name, (sftp, resop, size_bytes) in pairs.items():
        times = []
        with peak_memory(site) as peak:
            for _ in range(rounds):
                times.append((time_call(sftp), time_call(resop)))
        sftp_rate, resop_rate = (
            size_bytes / 1e6 / statistics.median(seconds) for seconds in zip(*times, strict=True)
        )
        ratios = [sftp_seconds / resop_seconds for sftp_seconds, resop_seconds in times]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        rates = f"{sftp_rate:>10.1f} | {resop_rate:>10.1f}"
        print(f"{name:>16} | {rates} | {spread:>18} | {format_memory(peak)}")
    for name, transfer in {"up": clients.upload, "down": clients.download}.items():
        with peak_memory(site) as peak:
            seconds = time_call(partial(transfer_concurrently, transfer))
        rate = CONCURRENT_TRANSFERS * size / 1e6 / seconds
        print(
            f"{CONCURRENT_TRANSFERS} concurrent transfers {name}: {rate:.0f} MB/s in total; "
            f"peak: {format_memory(peak)}"
        )
    print(f"after: {format_memory(resident_memory(site))}")


async def measure_listing(site: MeasuredSite, entries: int, calls: int) -> None:
    """Measure a command on the idle service, then beside listings of a large folder."""
    folder = site.ssh.home(OTHER_USER) / "large"
    folder.mkdir(0o755)
    for number in range(entries):
        (folder / f"{number}").touch()
    request = post_request("/utils/cmd/id", site.token, b"{}")
    command = HttpClient(site.port, request, b'"success":true')
    body = b'{"path": "large"}'
    request = post_request("/utils/opn/list_folder", site.log_in_other(), body)
    lister = HttpClient(site.port, request, f'"total":{entries}'.encode())
    if not await lister.call():  # the first call also opens connections
        raise RuntimeError("listing the folder failed")
    await lister.close()  # the service closes idle connections after a while
    idle = await run_clients([command], calls)
    listings = Measurement(1)

    async def list_repeatedly() -> None:
        while True:
            began = time.perf_counter()
            if await lister.call():
                listings.latencies.append(time.perf_counter() - began)
            else:
                listings.failed += 1

    background = asyncio.create_task(list_repeatedly())
    beside = await run_clients([command], calls)
    background.cancel()
    await asyncio.gather(background, return_exceptions=True)
    await lister.close()
    listings.latencies.sort()
    for name, commands in {
        "on the idle service": idle,
        f"beside listings of {entries}": beside,
    }.items():
        p50, p99 = commands.percentile(50), commands.percentile(99)
        print(f"a command {name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, {commands.failed} failed")
    count, p50 = len(listings.latencies), listings.percentile(50)
    print(f"a listing: p50 {p50:.0f} ms; {count} succeeded, {listings.failed} failed")
    print(f"after: {format_memory(resident_memory(site))}")


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.files", description=__doc__)
    parser.add_argument("-s", "--size", type=int, default=1024, help="size of the file in MiB")
    parser.add_argument("-f", "--files", type=int, default=2000, help="number of small files")
    parser.add_argument(
        "-e", "--entries", type=int, default=100_000, help="entries of the folder to list"
    )
    parser.add_argument("-n", "--calls", type=int, default=300, help="commands beside listings")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, start_site(Path(name)) as site:
        size = arguments.size << 20
        clients = TransferClients(site, Path(name), size, arguments.files)
        measure_transfers(site, clients, size, arguments.rounds)
        asyncio.run(measure_listing(site, arguments.entries, arguments.calls))


if __name__ == "__main__":
    main()
