"""Say why no SSH connection could be opened, and by the error's type whether to try again."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence

import asyncssh

from resop.config.clusters import Cluster
from resop.errors import ClusterMisconfigured, ClusterUnreachable, ResopError
from resop.ssh.server_greeting import ServerGreeting, Stage

_NO_MATCH = re.compile(
    r"No matching (?P<kind>.+) algorithm found, sent (?P<ours>\S*) and received (?P<theirs>\S*)"
)
_PSEUDO_ALGORITHM = re.compile(r"ext-info-[cs]|kex-strict-[cs]-\S+")
_REFUSED_FOR_NOW = re.compile(r"MaxStartups|not allowed at this time", re.IGNORECASE)
_PENALTY = re.compile(r"not allowed at this time", re.IGNORECASE)
_UNKNOWN_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_ANOTHER_SETTING = "the setting SSH_ALGORITHMS can accept older ones"


def place_of(cluster: Cluster) -> str:
    """Return a cluster's name and where its login node is."""
    address = f"[{cluster.address}]" if ":" in cluster.address else cluster.address
    return f"{cluster.name} ({address}:{cluster.ssh_port})"


def is_dropped(fault: Exception, greeting: ServerGreeting) -> bool:
    """Return whether a server dropped a connection, as sshd does while it has too many."""
    if _PENALTY.search(greeting.text) or isinstance(fault, ConnectionRefusedError):
        return False  # it would drop the next ones, too
    strangers = greeting.text and not greeting.version
    if strangers and not _REFUSED_FOR_NOW.search(greeting.text):
        return False  # another program than an SSH server
    return isinstance(fault, ConnectionError | asyncssh.ConnectionLost)


def algorithm_error(
    fault: Exception, cluster: Cluster, greeting: ServerGreeting, host_key_algorithms: Sequence[str]
) -> ClusterMisconfigured | None:
    """Return the error if the login node and resop have no algorithm of some kind in common."""
    if found := _NO_MATCH.search(str(fault)):
        theirs, ours = found["theirs"].split(","), found["ours"].split(",")
        return _no_common_algorithm(cluster, found["kind"], theirs, ours)
    theirs = greeting.host_key_algorithms
    if theirs and not set(theirs) & set(host_key_algorithms):
        return _no_common_algorithm(cluster, "host key", theirs, host_key_algorithms)
    return None


def network_error(fault: Exception, cluster: Cluster, greeting: ServerGreeting) -> ResopError:
    """Return the error of a connection that failed before the server asked anything."""
    where = place_of(cluster)
    if isinstance(fault, socket.gaierror):
        return _name_error(fault, where, cluster)
    if greeting.stage is not Stage.SSH:
        return _tcp_error(fault, where, greeting.stage)
    if greeting.text and not greeting.version:
        return _stranger_error(where, greeting.text)
    if isinstance(fault, asyncssh.ProtocolNotSupported):
        return ClusterMisconfigured(f"{where} speaks only SSH 1, which is not safe: {fault}")
    if isinstance(fault, TimeoutError):
        after = f"after its version {greeting.version!a}" if greeting.version else "with SSH"
        return ClusterUnreachable(f"{where} accepts connections, and does not answer {after}")
    if isinstance(fault, ConnectionError | asyncssh.ConnectionLost):
        return _closed_error(where, greeting)
    return ClusterUnreachable(f"{where} cannot be reached: {str(fault) or type(fault).__name__}")


def _name_error(fault: socket.gaierror, where: str, cluster: Cluster) -> ResopError:
    if fault.errno in _UNKNOWN_NAME:
        return ClusterMisconfigured(
            f"{where}: there is no host named {cluster.address} ({fault.strerror}); the "
            "administrator of this service must check the cluster's address"
        )
    return ClusterUnreachable(
        f"{where}: its name cannot be resolved at the moment ({fault.strerror}): try again later"
    )


def _tcp_error(fault: Exception, where: str, stage: Stage) -> ResopError:
    if isinstance(fault, TimeoutError) and stage is Stage.RESOLVE:
        return ClusterUnreachable(f"{where}: its name is not resolved in time: DNS does not answer")
    if isinstance(fault, TimeoutError):
        return ClusterUnreachable(
            f"{where} does not answer: it is down, or a firewall drops what is sent to it"
        )
    if isinstance(fault, ConnectionRefusedError):
        return ClusterUnreachable(
            f"{where} refuses connections: its SSH server does not run, or has another port"
        )
    reason = fault.strerror if isinstance(fault, OSError) else None
    return ClusterUnreachable(f"{where} cannot be reached: {reason or fault}")


def _stranger_error(where: str, text: str) -> ResopError:
    """Return the error of a server that said something, and not that it is an SSH server."""
    if _REFUSED_FOR_NOW.search(text):
        return ClusterUnreachable(
            f"{where} accepts no connection of this service for now: it says '{text}'"
        )
    return ClusterMisconfigured(f"{where} is not an SSH server: it says '{text}'")


def _closed_error(where: str, greeting: ServerGreeting) -> ResopError:
    if greeting.version:
        return ClusterUnreachable(f"{where} closed the connection before the login")
    return ClusterUnreachable(
        f"{where} closes connections at once: it has too many of them (MaxStartups), or refuses "
        "the address of this service (hosts.deny, fail2ban, a firewall)"
    )


def _no_common_algorithm(
    cluster: Cluster, kind: str, theirs: Sequence[str], ours: Sequence[str]
) -> ClusterMisconfigured:
    offered, accepted = (
        [name for name in names if not _PSEUDO_ALGORITHM.fullmatch(name)]
        for names in (theirs, ours)
    )
    return ClusterMisconfigured(
        f"{place_of(cluster)} and this service have no {kind} algorithm in common: the cluster "
        f"offers {', '.join(offered)}; this service accepts {', '.join(accepted)}; "
        f"{_ANOTHER_SETTING}",
        offered=offered,
        accepted=accepted,
    )
