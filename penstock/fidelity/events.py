"""What the logs of a live run say: which worker lived and served from when to when, how long partitions paused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.demo.history import Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Of the actuator: a worker was started, told to stop, is gone.
STARTED, DRAINING, GONE = "actuator.started", "actuator.draining", ("actuator.drained", "actuator.worker_ended")
#: Of a worker: it is in the group, it has ended; it got partitions, it gave some away.
READY, STOPPED, ASSIGNED, REVOKED = "worker.ready", "worker.stopped", "group.assigned", "group.revoked"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a log."""

    #: Unix seconds.
    at_s: float
    name: str
    #: Slot of the worker that it is about.
    worker: str
    partitions: tuple[int, ...] = ()


@dataclass(slots=True)
class Life:
    """One worker process; Unix seconds."""

    worker: str
    asked_s: float
    ready_s: float | None = None
    #: When it was told to stop.
    told_s: float = math.inf
    #: When it was gone.
    gone_s: float = math.inf


def read(texts: Iterable[str]) -> list[Event]:
    """The events of some logs, in order of time; lines that are none of them are left out.

    Args:
        texts: Logs of the autoscaler and of the workers.
    """
    wanted = {STARTED, DRAINING, *GONE, READY, STOPPED, ASSIGNED, REVOKED}
    found = []
    for text in texts:
        for line in text.splitlines():
            said = _parsed(line)
            if said.get("event") in wanted and "timestamp" in said:
                worker = str(said.get("worker", said.get("member", "")))
                at_s = datetime.fromisoformat(said["timestamp"]).timestamp()
                found.append(Event(at_s, said["event"], worker, tuple(said.get("partitions", ()))))
    return sorted(found, key=lambda event: event.at_s)


def lives(events: Sequence[Event], until_s: float) -> list[Life]:
    """Each worker process from its order to its end; one that nobody ordered was there before the autoscaler.

    Args:
        events: In order of time.
        until_s: Unix seconds at which those that live on are cut off.
    """
    open_: dict[str, Life] = {}
    done: list[Life] = []
    for event in events:
        if event.name == STARTED:
            if event.worker in open_:
                done.append(_ended(open_[event.worker], event.at_s))
            open_[event.worker] = Life(event.worker, event.at_s)
        elif event.name == READY and event.worker not in open_:
            open_[event.worker] = Life(event.worker, -math.inf)
        life = open_.get(event.worker)
        if life is None:
            continue
        if event.name == READY:
            life.ready_s = event.at_s
        elif event.name == DRAINING:
            life.told_s = min(life.told_s, event.at_s)
        elif event.name == STOPPED:
            life.gone_s = min(life.gone_s, event.at_s)
        elif event.name in GONE:
            done.append(_ended(open_.pop(event.worker), event.at_s))
    return [*done, *(_ended(life, until_s) for life in open_.values())]


def worker_seconds(found: Iterable[Life], from_s: float, until_s: float) -> float:
    """Seconds that workers were paid for between two moments: from the order until gone."""
    return sum(max(0.0, min(life.gone_s, until_s) - max(life.asked_s, from_s)) for life in found)


def counts(found: Sequence[Life], started_at_s: float, length_s: float) -> tuple[Series, Series]:
    """Workers alive and not told to stop, and those of them that serve, as steps over seconds since the load began."""
    running: dict[float, int] = {}
    ready: dict[float, int] = {}
    for life in found:
        told_s = min(life.told_s, life.gone_s)
        for steps, since_s in ((running, life.asked_s), (ready, life.ready_s)):
            if since_s is None or since_s > told_s:
                continue
            for at_s, change in ((since_s, 1), (told_s, -1)):
                place = max(at_s - started_at_s, 0.0)
                if place < length_s:
                    steps[place] = steps.get(place, 0) + change
    return _summed(running), _summed(ready)


def pauses_s(events: Sequence[Event]) -> list[float]:
    """For how long each partition that moved was nobody's, from the last word of its old owner to the new owner's."""
    owner: dict[int, str] = {}
    let_go_s: dict[int, float] = {}
    told_s: dict[str, float] = {}
    found = []
    for event in events:
        if event.name == DRAINING:
            told_s[event.worker] = event.at_s
        elif event.name == STARTED:
            told_s.pop(event.worker, None)
        elif event.name == REVOKED:
            let_go_s |= dict.fromkeys(event.partitions, event.at_s)
        elif event.name == ASSIGNED:
            for partition in event.partitions:
                before = owner.get(partition)
                since_s = let_go_s.pop(partition, None)
                if since_s is None and before is not None:
                    # Who leaves revokes nothing: the group takes it from them.
                    since_s = told_s.get(before)
                if since_s is not None and before != event.worker:
                    found.append(event.at_s - since_s)
                owner[partition] = event.worker
    return found


def _ended(life: Life, at_s: float) -> Life:
    life.gone_s = min(life.gone_s, at_s)
    return life


def _summed(steps: Mapping[float, int]) -> Series:
    at_s = np.array(sorted(steps))
    return Series(at_s, np.cumsum([steps[at] for at in at_s]).astype(np.float64))


def _parsed(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
