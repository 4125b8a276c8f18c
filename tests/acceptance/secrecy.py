"""Search all data of a service, and every process, for texts that must not be in them."""

import base64
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.service import Service


def written_forms(text: str) -> set[bytes]:
    """Return the forms that a text may have in a file: plain, reversed, hexadecimal and base64.

    Kombu's messages are base64, in which preceding bytes shift the text by up to two bytes.
    """
    plain = text.encode()
    forms = {plain, plain.hex().encode(), plain.hex().upper().encode(), plain[::-1]}
    for shift in range(3):
        encoded = base64.b64encode(b"x" * shift + plain + b"xxx")
        inner = encoded[-(-shift * 8 // 6) : (shift + len(plain)) * 8 // 6]
        forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return forms


def is_in(content: bytes, *texts: str) -> bool:
    """Return True if `content` contains any of the texts, in any form."""
    return any(form in content for text in texts for form in written_forms(text))


@contextlib.contextmanager
def monitor_redis(service: Service) -> Iterator[Callable[[], bytes]]:
    """Record all commands to a service's Redis; yield a function that returns them so far."""
    traffic = bytearray()
    with _connect(service.settings.redis_url) as listener:
        listener.sendall(b"MONITOR\r\n")
        traffic += listener.recv(5)  # +OK

        def listen() -> None:
            with contextlib.suppress(OSError):
                while chunk := listener.recv(1 << 20):
                    traffic.extend(chunk)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield lambda: bytes(traffic)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def places_of(texts: Iterable[str], service: Service, *folders: Path) -> list[str]:
    """Return the places of any of the texts in Redis and in files of the service and `folders`."""
    forms = {form for text in texts for form in written_forms(text)}

    def holds(content: bytes) -> bool:
        return any(form in content for form in forms)

    found = [f"redis {key!r}" for key, value in _in_redis(service) if holds(key) or holds(value)]
    for folder in (service.folder, *folders):
        for file in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a log rotated meanwhile
                if file.is_file() and holds(file.read_bytes()):
                    found.append(str(file))
    return found


def processes_that_show(text: str) -> list[str]:
    """Return the processes, even inside login nodes, with `text` in command or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                if text.encode() in process.joinpath(name).read_bytes():
                    found.append(f"{process}/{name}")
    return found


def _connect(url: str) -> socket.socket:
    address = urlsplit(url)
    if address.scheme == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.connect(address.path)
        return listener
    return socket.create_connection((address.hostname, address.port))


def _in_redis(service: Service) -> Iterator[tuple[bytes, bytes]]:
    redis = service.redis()
    for key in redis.scan_iter():
        yield key, redis.dump(key) or b""
