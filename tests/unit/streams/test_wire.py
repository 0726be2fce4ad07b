"""What is read from a broker's socket: answers in pieces, large ones, wrong ones, none, the end."""

from __future__ import annotations

import socket
import struct
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import errors as kafka_errors

from streams.kafka.frames import Frame
from streams.kafka.wire import Wire, Wires

if TYPE_CHECKING:
    from collections.abc import Iterator

ASK = Frame(18, 3, b"body")
SOON_S = 20.0


class Broker:
    """The other end of a wire, and the wire."""

    def __init__(self, *, idle_s: float = 60.0, login_s: float = float("inf"), most_bytes: int = 10**7) -> None:
        near, self.far = socket.socketpair()
        near.settimeout(0)
        self.far.settimeout(SOON_S)
        self.near = near
        self.closed_by: list[Exception | None] = []
        self.wire = Wire(
            near,
            client_id="me",
            number=2**31 - 2,
            idle_s=idle_s,
            login_s=login_s,
            most_bytes=most_bytes,
            close=self._close,
        )

    def _close(self, error: Exception | None) -> None:
        self.closed_by.append(error)
        self.near.close()

    def heard(self) -> tuple[int, bytes]:
        """The next request: its number, and what follows its head."""
        (size,) = struct.unpack(">i", self.far.recv(4, socket.MSG_WAITALL))
        raw = self.far.recv(size, socket.MSG_WAITALL)
        key, version, number, length = struct.unpack_from(">hhih", raw)
        assert (key, version, raw[10 : 10 + length]) == (18, 3, b"me")
        return number, raw[11 + length :]

    def say(self, number: int, body: bytes) -> None:
        """Answer."""
        self.far.sendall(answer(number, body))


def answer(number: int, body: bytes) -> bytes:
    """An answer as it goes over the wire."""
    return struct.pack(">iib", len(body) + 5, number, 0) + body


def body_of(found: tuple[memoryview, int] | None) -> bytes | None:
    """What an answer says."""
    return None if found is None else bytes(found[0][found[1] :])


def soon() -> float:
    """A deadline that is not reached."""
    return time.monotonic() + SOON_S


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A wire, and who is at its other end."""
    made = Broker()
    yield made
    made.near.close()
    made.far.close()


def test_requests_are_numbered_and_answered_in_order(broker: Broker) -> None:
    """The number goes round at 31 bits."""
    for _ in range(2):
        broker.wire.send(ASK, soon())
    assert broker.wire.owes == 2
    numbers = [broker.heard() for _ in range(2)]
    assert numbers == [(2**31 - 1, b"body"), (0, b"body")]
    for number, _ in numbers:
        broker.say(number, b"to %d" % number)
    assert body_of(broker.wire.answer(soon())) == b"to %d" % (2**31 - 1)
    assert body_of(broker.wire.answer(soon())) == b"to 0"
    assert broker.wire.owes == 0


@given(
    st.lists(st.integers(0, 300) | st.integers(65_000, 200_000), min_size=1, max_size=4),
    st.lists(st.integers(1, 90_000), min_size=1, max_size=5),
)
def test_answers_come_in_pieces(sizes: list[int], cuts: list[int]) -> None:
    """However they are cut: several in one piece, one in many, more than one read takes."""
    broker = Broker()
    try:
        bodies = [bytes([at % 251]) * size for at, size in enumerate(sizes)]
        for _ in bodies:
            broker.wire.send(ASK, soon())
        raw = b"".join(answer(broker.heard()[0], body) for body in bodies)
        found: list[bytes | None] = []
        at = 0
        while len(found) < len(bodies):
            for cut in cuts:
                broker.far.sendall(raw[at : at + cut])
                at += cut
                while broker.wire.owes and (one := broker.wire.take()) is not None:
                    found.append(body_of(one))
        assert found == bodies
    finally:
        broker.near.close()
        broker.far.close()


def test_without_an_answer_the_time_runs_out(broker: Broker) -> None:
    """And what is owed stays owed, so that whoever waits closes the wire."""
    broker.wire.send(ASK, soon())
    assert broker.wire.take() is None
    with pytest.raises(kafka_errors.RequestTimedOutError):
        broker.wire.answer(time.monotonic() + 0.01)
    assert broker.wire.owes == 1


@pytest.mark.parametrize("wrong", [answer(7, b""), b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", struct.pack(">ii", 4, 0)])
def test_what_nobody_asked_ends_the_connection(broker: Broker, wrong: bytes) -> None:
    """An answer to another request, one too large, one of a negative size, one without a head."""
    broker.wire.send(ASK, soon())
    broker.far.sendall(wrong)
    with pytest.raises(kafka_errors.KafkaConnectionError):
        broker.wire.answer(soon())


def test_the_end_of_the_connection_is_an_error(broker: Broker) -> None:
    """In the middle of an answer too."""
    broker.wire.send(ASK, soon())
    broker.far.sendall(answer(2**31 - 1, b"x" * 100)[:50])
    broker.far.close()
    with pytest.raises(kafka_errors.KafkaConnectionError):
        broker.wire.answer(soon())


def test_a_wire_gets_stale() -> None:
    """Closed by the broker while nothing was asked; silent for too long; logged in for too long."""
    for one in (Broker(idle_s=0.0), Broker(login_s=0.0)):
        assert one.wire.stale()
        one.near.close()
        one.far.close()
    broker = Broker()
    assert not broker.wire.stale()
    broker.far.close()
    deadline = soon()
    while not broker.wire.stale():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    broker.wire.close(None)
    assert broker.closed_by == [None]


def test_a_connection_that_is_closed_before_it_was_used_is_one_that_failed() -> None:
    """The broker restarts between the moment it is made and the moment somebody wants to write to it."""
    manager: Any = SimpleNamespace(_net=None, config={})
    wires = Wires(SimpleNamespace(_manager=manager))
    made: Any = SimpleNamespace(is_done=True, failed=lambda: False)
    wires._connecting[1] = SimpleNamespace(init_future=made, transport=None, _reauth=None)
    with pytest.raises(kafka_errors.KafkaConnectionError, match="broker 1 closed the connection"):
        wires.at_hand(1, SimpleNamespace())
