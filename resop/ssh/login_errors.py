"""Say why a login failed."""

from __future__ import annotations

import asyncssh

from resop.config.clusters import Cluster
from resop.errors import (
    AccessError,
    ClusterUnreachable,
    HostKeyMismatch,
    KeyRefused,
    LoginRefused,
    ResopError,
)
from resop.ssh.asyncssh_workarounds import SASLPrepError
from resop.ssh.connection_errors import algorithm_error, network_error, place_of
from resop.ssh.login_client import LoginClient


def login_error(fault: Exception, cluster: Cluster, client: LoginClient) -> ResopError:
    """Return the error of a login that failed, from what the server did and asked."""
    where = place_of(cluster)
    if client.wrong_host_key:
        return client.host_keys.mismatch(where, client.known_keys, client.wrong_host_key)
    if isinstance(fault, asyncssh.HostKeyNotVerifiable):
        return HostKeyMismatch(f"{where}: {fault}: nothing was sent")
    if isinstance(fault, SASLPrepError):  # RFC 4013: a prohibited character
        return LoginRefused(f"the user name or password cannot be sent: {fault}")
    if _is_refusal(fault):
        return _refusal(fault, client)
    if error := algorithm_error(fault, cluster, client.greeting, client.host_key_algorithms()):
        return error
    if client.answers.was_asked or (client.is_connected and isinstance(fault, TimeoutError)):
        return _login_cut(fault, where)
    return network_error(fault, cluster, client.greeting)


def _login_cut(fault: Exception, where: str) -> ResopError:
    """Return the error of a login that ended without an answer."""
    if isinstance(fault, TimeoutError):
        return ClusterUnreachable(f"{where} does not answer within LOGIN_SECONDS")
    reason = str(fault) or type(fault).__name__
    return ClusterUnreachable(f"{where} ended the login without an answer: {reason}")


def _is_refusal(fault: Exception) -> bool:
    if isinstance(fault, asyncssh.DisconnectError):  # sshd's message at its MaxAuthTries
        return (
            isinstance(fault, asyncssh.PermissionDenied)
            or "authentication failures" in fault.reason
        )
    return False


def _refusal(fault: Exception, client: LoginClient) -> AccessError:
    if not client.key_requests:
        return client.answers.refusal()
    if isinstance(fault, asyncssh.PermissionDenied) and client.key_requests == 1:
        return KeyRefused(
            "the cluster accepts the key of this login, but asks for something else as well",
            another_factor=True,
        )
    return KeyRefused()
