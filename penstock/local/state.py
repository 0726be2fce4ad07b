"""What was started in a directory: a small JSON file, replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from penstock.local.files import write_atomically
from penstock.local.process import ProcessRef

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 1


@dataclass(frozen=True, slots=True)
class State:
    """The note about a directory's services. Ports are kept after a stop, so that the next start may reuse them.

    Attributes:
        cluster_id: Kafka's cluster id.
        kafka_port: clients' port.
        controller_port: port of the controllers' quorum.
        redis_port: port of the Redis-protocol server.
        mutual_port: port of a secured broker's listener for certificates; 0 = the broker is not secured.
        kafka: the broker's process; None when stopped.
        redis: the server's process; None when stopped.
    """

    cluster_id: str
    kafka_port: int
    controller_port: int
    redis_port: int
    kafka: ProcessRef | None = None
    redis: ProcessRef | None = None
    mutual_port: int = 0


def load(path: Path) -> State | None:
    """The note, or None when there is none or it is unreadable: it is a hint only, processes are looked at anyway."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("version") != _VERSION:
            return None
        kafka, redis = _process(data.pop("kafka")), _process(data.pop("redis"))
        return State(**data, kafka=kafka, redis=redis)
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError, AttributeError):
        return None


def save(path: Path, state: State) -> None:
    """Replace the note.

    Raises:
        OSError: the disk is full.
    """
    write_atomically(path, json.dumps({"version": _VERSION, **asdict(state)}, indent=1) + "\n", mode=0o600)


def _process(data: Any) -> ProcessRef | None:
    return None if data is None else ProcessRef(int(data["pid"]), float(data["created_at_s"]), str(data["marker"]))
