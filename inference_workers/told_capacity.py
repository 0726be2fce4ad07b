"""What the group is told that this worker can do: stated at first, measured once there is enough to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_workers.busy import BusyShare
from streams.capacity import Capacity

if TYPE_CHECKING:
    from autoscaler.model import WorkerReport, WorkerType

#: Batches before the fitted curve is told to the group: the first ones are slow, and two points make any line.
MEASURED_BATCHES = 32
#: Part of the time that the device works from which on a worker's measurement counts against its type's.
LOADED = 0.5


class ToldCapacity:
    """`now` is replaced whole by the main thread and read by the client's threads."""

    def __init__(self, worker_type: WorkerType) -> None:
        self.now = Capacity(worker_type.name, worker_type.curve.capacity_per_s)
        self._busy = BusyShare()

    def note(self, report: WorkerReport) -> None:
        """Learn from what was just reported."""
        share = self._busy.update(report.at_s, report.busy_s)
        if report.curve is not None and report.batches >= MEASURED_BATCHES:
            said, loaded = self.now, share is not None and share >= LOADED
            self.now = Capacity(said.kind, said.stated, report.curve.capacity_per_s, loaded=loaded)
