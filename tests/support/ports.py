"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"
PORTS = range(20000, 32000)
"""Below the ephemeral ports, so that no outgoing connection uses one."""

_reserved: list[socket.socket] = []


def free_port(host: str = HOST) -> int:
    """Reserve a port that nobody listens on, also against other processes of the tests.

    The reservation lasts until this process ends, whenever its server starts to listen.
    """
    for port in random.sample(PORTS, 100):
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0resop-tests-port-{port}")  # no file: Linux's abstract namespace
            with socket.socket() as probe:
                probe.bind((host, port))
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        return port
    raise RuntimeError("no free port")
