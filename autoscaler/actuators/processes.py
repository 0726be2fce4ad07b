"""The fleet as processes of this host: started, restarted with back-off, drained, adopted by a restarted autoscaler.

All that must survive is in files (`fleet_files`), so two autoscalers on one host take the same steps under one lock,
and it does not matter which of them takes the next. One state directory serves one host: it sees no workers elsewhere.
"""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

from autoscaler.actuators import identity
from autoscaler.actuators.base import ActuatorSettings, SlotProblem
from autoscaler.actuators.fleet_files import Declared, FleetFiles, SlotRecord, asked_at, disk_errors
from autoscaler.actuators.launchers import SubprocessLauncher
from autoscaler.actuators.slots import (
    Drain,
    Ended,
    Forget,
    Instruction,
    Kill,
    Slot,
    Start,
    after_end,
    instruct,
    meaning,
    problems,
)
from autoscaler.errors import ActuatorFailed, StaleDecider
from autoscaler.model import FleetStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from autoscaler.actuators.base import Launcher

log = logging.getLogger(__name__)

#: The worker's exit code for a slot that another process holds.
_SLOT_TAKEN = 73
#: Seconds beyond the drain deadline until the last SIGKILL must have worked, and between two looks.
_STOP_GRACE_S = 5.0
_STOP_POLL_S = 0.05


class ProcessActuator:
    """Keeps a pipeline's fleet of worker processes. One thread at a time.

    Args:
        pipeline: Its name.
        state_dir: Holds `fleet/<pipeline>/`, `slots/` (the workers' own locks) and `logs/`.
        argv: The worker's command line; `{slot}` and `{type}` are filled in.
        settings: Deadlines and pauses.
        launcher: Starts processes; children in their own session by default.
        on_removed: Called with the name of a slot that is empty for good, before its number can be used again: the
            place to remove a static member from the group. What it raises is logged; the group's session time-out is
            the fallback.
        clock: Unix seconds.
        environ: Environment of the workers; this process's by default.
    """

    def __init__(
        self,
        pipeline: str,
        state_dir: Path,
        argv: Sequence[str],
        *,
        settings: ActuatorSettings | None = None,
        launcher: Launcher | None = None,
        on_removed: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._state_dir = state_dir
        self._files = FleetFiles(state_dir, pipeline)
        self._argv = tuple(argv)
        self._settings = settings or ActuatorSettings()
        self._launcher = launcher or SubprocessLauncher()
        self._on_removed = on_removed
        self._clock = clock
        self._environ = environ
        self._seen: tuple[Declared | None, dict[Slot, SlotRecord]] | None = None

    def declare(self, fleet: Mapping[str, int], epoch: int) -> None:
        """See `Actuator.declare`."""
        wrong = {kind: count for kind, count in fleet.items() if count < 0}
        if wrong:
            raise ActuatorFailed(f"fleet {wrong}: a number of workers cannot be below 0; declare 0 or more")
        with self._files.locked():
            before = self._files.declared()
            if before is not None and epoch < before.epoch:
                raise StaleDecider(
                    f"epoch {epoch} of pipeline {self._pipeline!r} is older than {before.epoch}, which has declared "
                    "already: another autoscaler has taken over, this one must stop deciding. If the telemetry "
                    f"topic was made anew, remove {self._files.root / 'declared.json'}"
                )
            declared = Declared(dict(fleet), epoch)
            if declared != before:
                self._files.declare(declared)
                log.info("actuator.declared", extra={"pipeline": self._pipeline, "fleet": dict(fleet), "epoch": epoch})
            if self._seen:
                self._seen = (declared, self._seen[1])

    def reconcile(self) -> None:
        """See `Actuator.reconcile`. Before anything was declared, workers found are left alone."""
        with self._files.locked():
            declared = self._files.declared()
            records = {slot: self._settled(record) for slot, record in self._files.records().items()}
            known = {slot: record for slot, record in records.items() if record is not None}
            self._seen = (declared, known)
            if declared is None:
                return
            live = {slot: record.live for slot, record in known.items() if record.ended is None}
            ended = {slot: record.ended for slot, record in known.items() if record.ended is not None}
            for step in instruct(declared.fleet, live, ended, self._clock(), self._settings):
                self._take(step, known)

    def status(self) -> FleetStatus:
        """What is declared and what runs, as of the last `reconcile`; workers that drain are not counted any more."""
        declared, records = self._look()
        running: dict[str, int] = {}
        for slot, record in records.items():
            if record.ended is None and record.draining_since_s is None:
                running[slot.worker_type] = running.get(slot.worker_type, 0) + 1
        return FleetStatus(declared=dict(declared.fleet) if declared else {}, running=running)

    def problems(self) -> tuple[SlotProblem, ...]:
        """See `Actuator.problems`."""
        _, records = self._look()
        now_s = self._clock()
        ended = {slot: record.ended for slot, record in records.items() if record.ended is not None}
        young = {
            slot: record.crashes
            for slot, record in records.items()
            if record.ended is None and now_s - record.asked_at_s < self._settings.stable_after_s
        }
        return problems(self._pipeline, ended, young, self._settings)

    def stop_workers(self) -> None:
        """Declare an empty fleet under the epoch last seen, and wait until it is so.

        Raises:
            ActuatorFailed: workers outlived even SIGKILL.
        """
        before = self._files.declared()
        if before is None:
            return
        self.declare({}, before.epoch)
        deadline = time.monotonic() + self._settings.drain_deadline_s + _STOP_GRACE_S
        while True:
            self.reconcile()
            left = [slot.name(self._pipeline) for slot, record in self._look()[1].items() if record.ended is None]
            if not left:
                return
            if time.monotonic() > deadline:
                raise ActuatorFailed(
                    f"workers {', '.join(left)} do not end: look for processes in uninterruptible sleep"
                )
            time.sleep(_STOP_POLL_S)

    def _look(self) -> tuple[Declared | None, dict[Slot, SlotRecord]]:
        if self._seen is None:
            self._seen = (self._files.declared(), self._files.records())
        return self._seen

    def _settled(self, record: SlotRecord) -> SlotRecord | None:
        """The record after a look at its process; `None` = it was never started."""
        if record.ended is not None:
            return record
        if record.pid is None:
            return self._searched(record)
        if record.born is not None and identity.alive(record.pid, record.born):
            return record
        return self._after_end(record, self._launcher.exit_code(record.pid))

    def _searched(self, record: SlotRecord) -> SlotRecord | None:
        """The autoscaler was killed between starting a worker and noting it: find it, or start anew."""
        pid = identity.find(record.asked_at, record.slot.name(self._pipeline)) or self._holder(record.slot)
        born = identity.birth(pid) if pid else None
        if pid is None or born is None:
            self._files.forget(record.slot)
            return None
        return self._adopted(dataclasses.replace(record, pid=pid, born=born))

    def _adopted(self, record: SlotRecord) -> SlotRecord:
        log.info("actuator.adopted", extra={"worker": record.slot.name(self._pipeline), "worker_pid": record.pid})
        self._files.keep(record)
        return record

    def _after_end(self, record: SlotRecord, code: int | None) -> SlotRecord:
        if code == _SLOT_TAKEN:
            pid = self._holder(record.slot)
            born = identity.birth(pid) if pid else None
            if born is not None:
                # The process that holds the slot is a worker of ours that nobody noted.
                return self._adopted(dataclasses.replace(record, pid=pid, born=born))
        end = after_end(record.live, code, record.crashes, self._clock(), self._settings)
        ended = dataclasses.replace(record, ended=end, pid=None, born=None, crashes=end.crashes)
        self._files.keep(ended)
        facts = {"worker": record.slot.name(self._pipeline), "exit_code": code, "crashes": end.crashes}
        if end.drained:
            log.info("actuator.drained", extra=facts)
        elif end.crashes >= self._settings.crash_loop_after:
            log.error("actuator.crash_loop", extra=facts | {"meaning": meaning(code)})
        else:
            log.warning("actuator.worker_ended", extra=facts | {"meaning": meaning(code)})
        return ended

    def _holder(self, slot: Slot) -> int | None:
        """Who holds the slot's own lock, by the pid that a worker may have written into it; `None` = nobody we know."""
        try:
            with (self._state_dir / "slots" / f"{slot.name(self._pipeline)}.lock").open("r", encoding="ascii") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
        except BlockingIOError:
            pass
        except OSError:
            return None
        try:
            return int((self._state_dir / "slots" / f"{slot.name(self._pipeline)}.lock").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def _take(self, step: Instruction, known: dict[Slot, SlotRecord]) -> None:
        slot = step.slot
        match step:
            case Start():
                known[slot] = self._start(slot, known.get(slot))
            case Drain() | Kill():
                known[slot] = self._end(known[slot], kill=isinstance(step, Kill))
            case Forget():
                self._remove(slot)
                del known[slot]

    def _start(self, slot: Slot, before: SlotRecord | None) -> SlotRecord:
        name = slot.name(self._pipeline)
        now_s = round(self._clock(), 6)
        crashes = before.ended.crashes if before and before.ended else 0
        # Noted before it is started: whoever dies in between leaves a trace by which the worker is found.
        record = SlotRecord(slot, now_s, crashes=crashes)
        self._files.keep(record)
        env = dict(os.environ if self._environ is None else self._environ)
        env["PENSTOCK_ASKED_AT_S"] = asked_at(now_s)
        argv = [part.replace("{slot}", name).replace("{type}", slot.worker_type) for part in self._argv]
        try:
            pid = self._launcher.launch(argv, env, self._log_path(name))
        except ActuatorFailed as error:
            log.error("actuator.start_failed", extra={"worker": name, "error": str(error)})  # noqa: TRY400
            end = Ended(now_s, None, crashes + 1, drained=False)
            record = dataclasses.replace(record, ended=end, crashes=end.crashes)
        else:
            log.info("actuator.started", extra={"worker": name, "worker_pid": pid, "crashes": crashes})
            record = dataclasses.replace(record, pid=pid, born=identity.birth(pid))
        self._files.keep(record)
        return record

    def _end(self, record: SlotRecord, *, kill: bool) -> SlotRecord:
        name = record.slot.name(self._pipeline)
        if kill:
            record = dataclasses.replace(record, killed=True)
            log.warning(
                "actuator.drain_deadline", extra={"worker": name, "deadline_s": self._settings.drain_deadline_s}
            )
        else:
            record = dataclasses.replace(record, draining_since_s=self._clock())
            log.info("actuator.draining", extra={"worker": name})
        self._files.keep(record)
        if record.pid is not None and record.born is not None:
            identity.send(record.pid, record.born, signal.SIGKILL if kill else signal.SIGTERM)
        return record

    def _remove(self, slot: Slot) -> None:
        name = slot.name(self._pipeline)
        if self._on_removed is not None:
            try:
                self._on_removed(name)
            except Exception as error:  # noqa: BLE001 - a courtesy to the group must not stop the fleet
                log.warning("actuator.member_not_removed", extra={"worker": name, "error": str(error)})
        self._files.forget(slot)

    def _log_path(self, name: str) -> Path:
        path = self._state_dir / "logs" / f"{name}.log"
        with disk_errors(f"set the log {path} aside"):
            if path.exists() and path.stat().st_size > self._settings.log_limit_bytes:
                path.replace(path.with_suffix(".log.1"))
        return path
