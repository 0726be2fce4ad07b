"""Loopback ports."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from penstock.errors import PortTaken
from penstock.local import ports

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_a_port_asked_for_and_taken_is_refused_with_its_holder(taken: int) -> None:
    """The message names the option, the port, who holds it and what to do."""
    with pytest.raises(PortTaken) as caught:
        ports.pick(taken, "--kafka-port", last=0, avoid=frozenset())
    assert f"--kafka-port {taken} is taken" in caught.value.cause
    assert f"(pid {os.getpid()})" in caught.value.cause
    assert "name another port" in caught.value.cure


def test_the_port_of_last_time_is_taken_again(taken: int) -> None:
    """Clients find a restarted server where it was, unless the place is occupied."""
    free = ports.pick(None, "", last=0, avoid=frozenset())
    assert ports.pick(None, "", last=free, avoid=frozenset()) == free
    assert ports.pick(None, "", last=taken, avoid=frozenset()) != taken


def test_a_port_spoken_for_is_avoided() -> None:
    """Two servers of one start never get the same port."""
    free = ports.pick(None, "", last=0, avoid=frozenset())
    assert ports.pick(None, "", last=free, avoid=frozenset({free})) != free
    with pytest.raises(PortTaken, match="twice"):
        ports.pick(free, "--kafka-port", last=0, avoid=frozenset({free}))
