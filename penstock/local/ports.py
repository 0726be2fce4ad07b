"""Loopback ports: free ones, remembered ones, and a plain word when one is taken."""

from __future__ import annotations

import contextlib
import socket

import psutil

from penstock.errors import PortTaken

#: All that is embedded listens here and nowhere else.
HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on a loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def require_free(port: int, option: str) -> int:
    """The port itself, when it is free.

    Raises:
        PortTaken: it is not; the message names the holder where the system tells it.
    """
    if not is_free(port):
        raise PortTaken(
            f"{option} {port} is taken{_holder(port)}",
            f"stop what listens there, name another port, or leave {option} out to get a free one",
        )
    return port


def pick(asked: int | None, option: str, *, last: int, avoid: frozenset[int]) -> int:
    """A port for a server: the one asked for, else that of last time (clients find it again), else a free one.

    Args:
        asked: the port a person asked for.
        option: the name they asked by, for the message.
        last: the port of an earlier start; 0 when there was none.
        avoid: ports that are spoken for but not in use yet.

    Raises:
        PortTaken: the port asked for is not free.
    """
    if asked is not None:
        if asked in avoid:
            raise PortTaken(f"{option} {asked} is asked for twice", "name two different ports")
        return require_free(asked, option)
    if last and last not in avoid and is_free(last):
        return last
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if port not in avoid:
            return port


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
