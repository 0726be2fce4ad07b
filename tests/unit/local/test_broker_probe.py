"""Asking a broker whether it serves."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from penstock.local.probe import Cluster, describe_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


def text(value: str) -> bytes:
    """Kafka's compact string."""
    return bytes([len(value) + 1]) + value.encode()


def answer(*brokers: int, error: int = 0) -> bytes:
    """What a broker sends back, by the protocol's own description."""
    body = struct.pack(">ibihb", 7, 0, 0, error, 0) + text("cluster") + struct.pack(">i", 1)
    body += bytes([len(brokers) + 1])
    for broker in brokers:
        body += struct.pack(">i", broker) + text("127.0.0.1") + struct.pack(">i", 9092) + b"\x00\x00"
    body += struct.pack(">ib", -(2**31), 0)
    return struct.pack(">i", len(body)) + body


class Server:
    """Answers one connection with given bytes."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.reply = b""

    def serve(self) -> None:
        """Take one request and answer it."""
        connection, _ = self.listener.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(self.reply)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers once."""
    made = Server()
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    thread.join(10)
    made.listener.close()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answer(1, 2), Cluster("cluster", frozenset({1, 2}))),
        (answer(), Cluster("cluster", frozenset())),
        (answer(1, error=29), None),
        (answer(1)[:20], None),
        (b"", None),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", None),
        (struct.pack(">i", 4) + b"\x00\x00\x00\x01", None),
    ],
)
def test_only_a_broker_that_serves_is_recognised(server: Server, reply: bytes, expected: Cluster | None) -> None:
    """A fenced broker lists nobody; another protocol, an error or half an answer is no broker."""
    server.reply = reply
    assert describe_cluster("127.0.0.1", server.port) == expected


def test_nobody_there_is_no_broker() -> None:
    """A refused connection is an answer too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    assert describe_cluster("127.0.0.1", port) is None
