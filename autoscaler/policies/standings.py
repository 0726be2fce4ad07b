"""The workers of one type among several, as one decision sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoscaler.model import Observation, WorkerType
    from autoscaler.settings import PolicySettings


@dataclass(frozen=True, slots=True)
class Remembered:
    """Of what was decided; `Remembered()` knows nothing."""

    #: Count decided last; `None` = none, or it was only advice.
    decided: int | None = None
    #: When the type was last made larger, and from how many.
    grown_at_s: float | None = None
    grown_from: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """The workers of one type as one decision sees them."""

    kind: WorkerType
    #: Asked for; `None` = not known.
    declared: int | None
    #: That serve.
    ready: int
    #: Seconds until each of those that start serves.
    starting_in_s: tuple[float, ...]


def standing_of(
    observation: Observation,
    settings: PolicySettings,
    kind: WorkerType,
    remembered: Remembered,
    decided_at_s: float | None,
) -> Standing:
    """One type as it is; who has not reported for long is taken to serve if it runs.

    Args:
        observation: What is known.
        settings: Of the policy.
        kind: The type.
        remembered: Of it.
        decided_at_s: When the fleet was last decided; `None` = not by this state.
    """
    known = observation.fleet
    declared = known.declared.get(kind.name, 0) if known is not None else None
    sampled_at_s = observation.history.until_s if observation.history is not None else observation.at_s
    before_s = (decided_at_s or 0.0) - sampled_at_s
    if remembered.decided is not None and (declared is None or 0 <= before_s <= settings.sample_fresh_s):
        # A sample taken before the last decision was declared does not know of it.
        declared = remembered.decided
    status = observation.workers.get(kind.name)
    ready = status.ready if status is not None else 0
    if declared is None and ready:
        declared = ready
    if declared is None or ready >= declared:
        return Standing(kind, declared, ready if declared is None else min(ready, declared), ())
    since_s = observation.at_s - remembered.grown_at_s if remembered.grown_at_s is not None else None
    waited = since_s is not None and 0 <= since_s < settings.start_patience * kind.boot_s
    if status is None:
        running = known.running.get(kind.name, 0) if known is not None else declared
        ready = min(declared, remembered.grown_from if waited else running)
    asked = status.asked_at_s if status is not None else ()
    begun = [*asked, *[observation.at_s] * (declared - ready)][: declared - ready]
    starting = tuple(sorted(max(settings.tick_s, at_s + kind.boot_s - observation.at_s) for at_s in begun))
    return Standing(kind, declared, ready, starting)
