"""An actuator that changes nothing and says what it would do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from autoscaler.errors import StaleDecider
from autoscaler.model import FleetStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from autoscaler.actuators.base import SlotProblem

log = logging.getLogger(__name__)


class AdvisoryActuator:
    """Says what it would do; others run the workers.

    Args:
        pipeline: Its name.
        running: How many workers of each type are there, as far as they report.
    """

    def __init__(self, pipeline: str, running: Callable[[], Mapping[str, int]]) -> None:
        self._pipeline = pipeline
        self._running = running
        self._epoch = -1
        self._said: tuple[dict[str, int], dict[str, int]] | None = None

    def declare(self, fleet: Mapping[str, int], epoch: int) -> None:
        """Say the difference between `fleet` and what runs, once for each new difference."""
        if epoch < self._epoch:
            raise StaleDecider(
                f"epoch {epoch} of pipeline {self._pipeline!r} is older than {self._epoch}: this decider must stop"
            )
        self._epoch = epoch
        seen = (dict(fleet), dict(self._running()))
        if seen != self._said:
            self._said = seen
            log.info("actuator.advice", extra={"pipeline": self._pipeline, "advice": advice(*seen), "fleet": seen[0]})

    def reconcile(self) -> None:
        """Nothing."""

    def status(self) -> FleetStatus:
        """What runs is what someone else has declared: advice is judged against the fleet that is there."""
        running = dict(self._running())
        return FleetStatus(declared=running, running=running)

    def problems(self) -> tuple[SlotProblem, ...]:
        """None: these workers are someone else's."""
        return ()

    def stop_workers(self) -> None:
        """Nothing."""


def advice(fleet: Mapping[str, int], running: Mapping[str, int]) -> str:
    """What would be done to get from `running` to `fleet`, in words."""
    parts = []
    for kind in sorted({*fleet, *running}):
        change = fleet.get(kind, 0) - running.get(kind, 0)
        if change:
            parts.append(f"would {'start' if change > 0 else 'stop'} {abs(change)} {kind}")
    return ", ".join(parts) or "would change nothing"
