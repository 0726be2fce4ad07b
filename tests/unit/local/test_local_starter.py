"""One start of both services, with stand-ins for the processes."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from penstock.errors import AlreadyRunning, PortTaken, ServiceFailed
from penstock.local import ports, starter, state
from penstock.local.java import Java
from penstock.local.paths import Layout, make_private
from penstock.local.process import ProcessRef

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Record:
    """What the stand-ins did, in order."""

    events: list[str] = field(default_factory=list)
    #: Failures of `wait_ready`, by service, taken one a start.
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    serving: set[str] = field(default_factory=set)
    leftovers: dict[str, ProcessRef] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """A stand-in for either service."""

    name: str
    port: int
    record: Record
    note_path: Path
    url: str = "redis://penstock:secret@127.0.0.1:1/0"

    def ready(self) -> bool:
        """Whether it was told to serve."""
        return self.name in self.record.serving

    def find_leftover(self) -> ProcessRef | None:
        """A process that nobody noted."""
        return self.record.leftovers.get(self.name)

    def configure(self) -> None:
        """Nothing to write."""

    format = configure

    def start(self) -> ProcessRef:
        """A reference to no process."""
        self.record.events.append(f"start {self.name} {self.port}")
        return Ref(len(self.record.events), 0.0, self.name)

    def wait_ready(self, process: ProcessRef) -> None:
        """Fail as planned."""
        noted = state.load(self.note_path)
        assert noted is not None
        assert getattr(noted, self.name) == ProcessRef(process.pid, 0.0, self.name)
        if planned := self.record.failures.get(self.name):
            raise planned.pop(0)


class Ref(ProcessRef):
    """A process that lives until it is stopped."""

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return ProcessRef, (self.pid, self.created_at_s, self.marker)

    def stop(self, *, timeout_s: float) -> bool:  # noqa: ARG002 - it always obeys
        """Note the stop."""
        STOPPED.append(self.marker)
        return True


STOPPED: list[str] = []


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty directory's layout."""
    made = Layout.of(tmp_path)
    make_private(made.root)
    return made


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    """Put the stand-ins in place."""
    made = Record()
    STOPPED.clear()
    monkeypatch.setattr(starter, "kafka_of", lambda lay, note, _: Node("kafka", note.kafka_port, made, lay.state))
    monkeypatch.setattr(starter, "redis_of", lambda lay, note, _: Node("redis", note.redis_port, made, lay.state))
    return made


def run(layout: Layout, kafka_port: int | None = None, redis_port: int | None = None) -> state.State:
    """Start."""
    return starter.Starter(layout, Java("java", ()), kafka_port, redis_port).run()[0]


def test_both_are_started_before_either_is_waited_for(layout: Layout, record: Record) -> None:
    """The note names both processes by then (the stand-ins check it), and the ports differ."""
    note = run(layout)
    assert [event.rsplit(" ", 1)[0] for event in record.events] == ["start redis", "start kafka"]
    assert len({note.kafka_port, note.controller_port, note.redis_port}) == 3
    assert layout.redis_url.stat().st_mode & 0o777 == 0o600


def test_ports_asked_for_are_used(layout: Layout, record: Record) -> None:
    """And the same port for both is refused."""
    first = ports.pick(None, "", last=0, avoid=frozenset())
    second = ports.pick(None, "", last=0, avoid=frozenset({first}))
    note = run(layout, first, second)
    assert (note.kafka_port, note.redis_port) == (first, second)
    assert note.controller_port not in {first, second}
    with pytest.raises(PortTaken, match="twice"):
        run(Layout.of(layout.directory), first, first)


def test_a_port_lost_between_choice_and_bind_is_replaced(
    layout: Layout, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may take a free port first: others are chosen, and nothing of the first try is left running."""
    with socket.create_server((ports.HOST, 0)) as thief:
        lost = int(thief.getsockname()[1])
        really, seen = ports.is_free, set[int]()

        def late(port: int) -> bool:
            """Free at the first look; the truth from then on."""
            first = port not in seen
            seen.add(port)
            return first or really(port)

        monkeypatch.setattr(ports, "is_free", late)
        state.save(layout.state, state.State("id", 0, 0, redis_port=lost))
        record.failures["redis"] = [ServiceFailed("bind", "-")]
        note = run(layout)
    assert note.redis_port != lost
    assert STOPPED == ["redis", "kafka"]
    assert [event.split(" ")[1] for event in record.events] == ["redis", "kafka"] * 2


def test_another_failure_is_not_repeated_and_stops_what_was_started(layout: Layout, record: Record) -> None:
    """A broken service is reported at once; the healthy one does not stay behind alone."""
    record.failures["kafka"] = [ServiceFailed("broken", "-")]
    with pytest.raises(ServiceFailed, match="broken"):
        run(layout)
    assert STOPPED == ["redis", "kafka"]
    assert len(record.events) == 2


def test_a_leftover_that_serves_is_adopted_and_one_that_does_not_is_stopped(layout: Layout, record: Record) -> None:
    """After a killed run: the healthy broker goes on, the hung Redis is replaced."""
    state.save(layout.state, state.State("id", 1, 2, 3))
    record.leftovers = {"kafka": Ref(7, 0.0, "kafka"), "redis": Ref(8, 0.0, "redis")}
    record.serving = {"kafka"}
    note = run(layout)
    assert note.kafka == record.leftovers["kafka"]
    assert note.kafka_port == 1
    assert STOPPED == ["redis"]
    assert [event.split(" ")[1] for event in record.events] == ["redis"]


def test_a_running_service_does_not_move_to_another_port(layout: Layout, record: Record) -> None:
    """Asking for another port than the running one is an error that says how to get it."""
    state.save(layout.state, state.State("id", 1, 2, 3))
    record.leftovers = {"kafka": Ref(7, 0.0, "kafka")}
    record.serving = {"kafka"}
    with pytest.raises(AlreadyRunning, match="penstock down"):
        run(layout, kafka_port=4000)
    assert record.events == []
