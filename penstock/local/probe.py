"""Asking a broker whether it serves, in 30 bytes of Kafka's protocol.

A whole client would take seconds to learn what one request tells in a millisecond. `DescribeCluster` (API 60, version
0) names the cluster and its brokers; a broker that is still starting is fenced and not among them. Layout:
https://kafka.apache.org/protocol#The_Messages_DescribeCluster
"""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

_DESCRIBE_CLUSTER = 60
_CORRELATION = 7
#: A cluster description of a few brokers is below 1 kB; another protocol's bytes read as a length are not.
_LARGEST_ANSWER = 65_536


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a broker says of its cluster.

    Attributes:
        cluster_id: the id that the storage was formatted with.
        brokers: ids of the brokers that serve.
    """

    cluster_id: str
    brokers: frozenset[int]


def describe_cluster(
    host: str, port: int, *, timeout_s: float = 2.0, context: ssl.SSLContext | None = None
) -> Cluster | None:
    """The cluster behind a port, or None when no broker answers there (yet).

    Args:
        host: name or address.
        port: of a listener that asks for no password.
        timeout_s: seconds for each wait.
        context: for a listener that speaks TLS, with the certificate to show it.
    """
    # Header version 2: API, version, correlation, no client id, no tags. Body: no authorised operations, no tags.
    request = struct.pack(">hhihbbb", _DESCRIBE_CLUSTER, 0, _CORRELATION, -1, 0, 0, 0)
    try:
        with contextlib.ExitStack() as opened:
            connection = opened.enter_context(socket.create_connection((host, port), timeout_s))
            if context:
                connection = opened.enter_context(context.wrap_socket(connection, server_hostname=host))
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as stream:
                (length,) = struct.unpack(">i", stream.read(4))
                if not 0 < length <= _LARGEST_ANSWER:
                    return None
                return _decode(_Reader(stream.read(length)))
    except (OSError, struct.error, IndexError, UnicodeDecodeError):
        return None


class _Reader:
    """A cursor over bytes with Kafka's compact types."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(value)

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:  # noqa: PLR2004 - the continuation bit
                return value

    def text(self) -> str | None:
        length = self.varint() - 1
        if length < 0:
            return None
        self._at += length
        return self._data[self._at - length : self._at].decode()


def _decode(reader: _Reader) -> Cluster | None:
    if reader.take(">i") != _CORRELATION:
        return None
    reader.varint()  # tags of the header
    reader.take(">i")  # throttle time
    error, _message = reader.take(">h"), reader.text()
    cluster_id = reader.text()
    if error or cluster_id is None:
        return None
    reader.take(">i")  # controller
    brokers = set()
    for _ in range(reader.varint() - 1):
        brokers.add(reader.take(">i"))
        _host, _port, _rack = reader.text(), reader.take(">i"), reader.text()
        reader.varint()  # tags of the broker
    return Cluster(cluster_id, frozenset(brokers))
