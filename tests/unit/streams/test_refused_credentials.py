"""Wrong credentials are said at once and by name, though kafka-python only logs them and reports a time-out later."""

from __future__ import annotations

import socketserver
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from streams.errors import AuthenticationFailed
from streams.kafka import Admin, KafkaSettings, new_producer, new_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
SUPPORTED = ((API_VERSIONS, 0, 0), (HANDSHAKE, 0, 1), (AUTHENTICATE, 0, 0), (3, 0, 1))
UNSUPPORTED_VERSION, AUTHENTICATION_FAILED = 35, 58


def text(value: bytes) -> bytes:
    """A string as Kafka's protocol has it."""
    return struct.pack(">h", len(value)) + value


class RefusingBroker(socketserver.BaseRequestHandler):
    """Speaks as much of Kafka's protocol as it takes to refuse a password."""

    def handle(self) -> None:
        """Answer requests until the client goes away."""
        while size := self.request.recv(4):
            body = b""
            while len(body) < struct.unpack(">i", size)[0]:
                body += self.request.recv(4096)
            kind, version, correlation = struct.unpack_from(">hhi", body)
            answer = struct.pack(">i", correlation) + self.answer(kind, version)
            self.request.sendall(struct.pack(">i", len(answer)) + answer)

    @staticmethod
    def answer(kind: int, version: int) -> bytes:
        """The body of the answer to one request."""
        if kind == API_VERSIONS:
            versions = b"".join(struct.pack(">hhh", *entry) for entry in SUPPORTED)
            return struct.pack(">hi", UNSUPPORTED_VERSION if version else 0, len(SUPPORTED)) + versions
        if kind == HANDSHAKE:
            return struct.pack(">hi", 0, 1) + text(b"PLAIN")
        assert kind == AUTHENTICATE
        return struct.pack(">h", AUTHENTICATION_FAILED) + text(b"no such user") + struct.pack(">i", 0)


@pytest.fixture
def broker() -> Iterator[str]:
    """Where it listens."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), RefusingBroker) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "build",
    [
        lambda settings: Admin(settings, "refused"),
        lambda settings: new_producer(settings, "refused"),
        lambda settings: new_reader(settings, ["t"], client_id="refused"),
    ],
)
def test_a_refused_password_is_said_at_once(broker: str, build: Callable[[KafkaSettings], object]) -> None:
    """Every kind of client names the cause and the cure long before its bootstrap timeout, and leaves no thread."""
    client = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "app",
        "sasl_plain_password": "s3cret",
    }
    settings = KafkaSettings(broker, client=client, bootstrap_timeout_ms=60_000)
    began_at_s = time.monotonic()
    with pytest.raises(AuthenticationFailed, match=r"no such user.*check user, password and mechanism") as refused:
        build(settings)
    assert time.monotonic() - began_at_s < 20
    assert "s3cret" not in str(refused.value)
    assert not [thread.name for thread in threading.enumerate() if "refused" in thread.name]
