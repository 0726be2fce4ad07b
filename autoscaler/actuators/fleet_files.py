"""What the actuator keeps on disk, so that it knows its workers again after it was killed.

    <state>/fleet/<pipeline>/lock            one writer at a time
    <state>/fleet/<pipeline>/declared.json   the fleet and the epoch of its decider
    <state>/fleet/<pipeline>/slots/*.json    one worker each: process, when it was asked for, how often it crashed

Each file is replaced whole, so that a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.actuators.slots import Ended, Live, Slot
from autoscaler.errors import ActuatorFailed
from autoscaler.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

#: Seconds to wait for another autoscaler's step; a step takes milliseconds.
_LOCK_TIMEOUT_S = 5.0
_LOCK_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Declared:
    """The fleet that shall be, by whose word."""

    fleet: Mapping[str, int]
    epoch: int


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """One slot as kept on disk."""

    slot: Slot
    asked_at_s: float
    #: `None` = the start was asked for, and nobody noted its process yet.
    pid: int | None = None
    #: Tells this process from others of the same pid (`identity.birth`); `None` = it was gone before it could be seen.
    born: str | None = None
    draining_since_s: float | None = None
    killed: bool = False
    #: Crashes in a row before this life.
    crashes: int = 0
    #: How it ended; `None` = it has not.
    ended: Ended | None = None

    @property
    def live(self) -> Live:
        """What the pure part needs to know of a running worker."""
        return Live(self.asked_at_s, self.draining_since_s, self.killed)

    @property
    def asked_at(self) -> str:
        """The moment of asking as the worker is told it."""
        return asked_at(self.asked_at_s)


def asked_at(at_s: float) -> str:
    """Unix seconds as the worker's environment has them."""
    return f"{at_s:.6f}"


class FleetFiles:
    """The files of one pipeline under a state directory."""

    def __init__(self, state_dir: Path, pipeline: str) -> None:
        self._pipeline = pipeline
        self.root = state_dir / "fleet" / pipeline
        self._slots = self.root / "slots"
        self._declared = self.root / "declared.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory against other autoscalers.

        Raises:
            ActuatorFailed: another one holds it for longer than a step takes, or the disk cannot be written to.
        """
        with disk_errors(f"keep the fleet in {self.root}"):
            self._slots.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                _take(handle, self.root)
                yield
            finally:
                os.close(handle)

    def declared(self) -> Declared | None:
        """What was last declared; `None` = nothing yet."""
        try:
            content = _read(self._declared)
            if content is None:
                return None
            fleet = {str(kind): int(count) for kind, count in content["fleet"].items()}
            return Declared(fleet, int(content["epoch"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ActuatorFailed(
                f"{self._declared} cannot be read ({error!r}): remove it; the next decision declares the fleet anew"
            ) from error

    def declare(self, declared: Declared) -> None:
        """Keep a declaration, surviving a power cut: a forgotten epoch would let a stale decider in."""
        _replace(self._declared, {"fleet": dict(declared.fleet), "epoch": declared.epoch}, durable=True)

    def records(self) -> dict[Slot, SlotRecord]:
        """All slots known; a file that cannot be read is set aside and reported."""
        found = {}
        if self._slots.is_dir():
            for path in sorted(self._slots.glob("*.json")):
                try:
                    record = _record(_read(path))
                except (KeyError, TypeError, ValueError) as error:
                    log.warning("actuator.slot_unreadable", extra={"path": str(path), "error": repr(error)})
                    path.rename(path.with_suffix(".unreadable"))
                else:
                    found[record.slot] = record
        return found

    def keep(self, record: SlotRecord) -> None:
        """Write one slot."""
        content = dataclasses.asdict(record)
        _replace(self._path(record.slot), content, durable=False)

    def forget(self, slot: Slot) -> None:
        """Remove one slot."""
        self._path(slot).unlink(missing_ok=True)

    def _path(self, slot: Slot) -> Path:
        return self._slots / f"{slot.name(self._pipeline)}.json"


@contextlib.contextmanager
def disk_errors(action: str) -> Iterator[None]:
    """Translate what the file system says.

    Raises:
        ActuatorFailed: with the cause and what to look at.
    """
    try:
        yield
    except OSError as error:
        raise ActuatorFailed(f"cannot {action}: {error}; check the disk's space and the folder's owner") from error


def _take(handle: int, root: Path) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ActuatorFailed(
                    f"another process has held {root / 'lock'} for over {_LOCK_TIMEOUT_S:g} s: look for a second, "
                    "stopped autoscaler on the same state directory"
                ) from None
            time.sleep(_LOCK_POLL_S)
        else:
            return


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def _replace(path: Path, content: object, *, durable: bool) -> None:
    """Atomic; the new content goes to the disk first where `durable`."""
    write_whole(path, json.dumps(content, separators=(",", ":")), durable=durable)


def _record(content: Any) -> SlotRecord:
    if not isinstance(content, dict):
        raise TypeError(f"{type(content).__name__} instead of an object")
    ended = content.pop("ended")
    slot = content.pop("slot")
    return SlotRecord(
        slot=Slot(str(slot["worker_type"]), int(slot["number"])),
        ended=None if ended is None else Ended(**ended),
        **content,
    )
