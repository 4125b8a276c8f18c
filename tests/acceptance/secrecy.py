"""Searches all that a service keeps, and every process, for a text that must not be there."""

import base64
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.service import Service


def written_forms(text: str) -> set[bytes]:
    """How the text may stand in a file: as it is, hexadecimal, and inside of something in base64.

    Kombu's messages are base64: what stands before it there shifts the text by up to two bytes.
    """
    plain = text.encode()
    forms = {plain, plain.hex().encode(), plain.hex().upper().encode(), plain[::-1]}
    for shift in range(3):
        encoded = base64.b64encode(b"x" * shift + plain + b"xxx")
        inner = encoded[-(-shift * 8 // 6) : (shift + len(plain)) * 8 // 6]
        forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return forms


def is_in(content: bytes, *texts: str) -> bool:
    """Whether any of the texts stands there, in any form."""
    return any(form in content for text in texts for form in written_forms(text))


@contextlib.contextmanager
def overheard(service: Service) -> Iterator[Callable[[], bytes]]:
    """All that passes through a service's Redis, kept there or not: a function gives it so far."""
    heard = bytearray()
    address = urlsplit(service.settings.redis_url)
    with socket.create_connection((address.hostname, address.port)) as listener:
        listener.sendall(b"MONITOR\r\n")
        heard += listener.recv(5)  # +OK

        def listen() -> None:
            with contextlib.suppress(OSError):
                while said := listener.recv(1 << 20):
                    heard.extend(said)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield lambda: bytes(heard)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def places_of(texts: Iterable[str], service: Service, *folders: Path) -> list[str]:
    """Where any of the texts stands: in Redis, and in the files of the service and `folders`."""
    forms = {form for text in texts for form in written_forms(text)}

    def holds(content: bytes) -> bool:
        return any(form in content for form in forms)

    found = [f"redis {key!r}" for key, value in _in_redis(service) if holds(key) or holds(value)]
    for folder in (service.folder, *folders):
        for file in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a log that was rotated meanwhile
                if file.is_file() and holds(file.read_bytes()):
                    found.append(str(file))
    return found


def processes_that_show(text: str) -> list[str]:
    """The processes of this machine, those inside login nodes included, that show it to others."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                if text.encode() in process.joinpath(name).read_bytes():
                    found.append(f"{process}/{name}")
    return found


def _in_redis(service: Service) -> Iterator[tuple[bytes, bytes]]:
    redis = service.redis()
    for key in redis.scan_iter():
        yield key, redis.dump(key) or b""
