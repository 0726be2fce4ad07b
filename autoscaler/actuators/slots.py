"""Which slots to start, drain, kill and forget: a pure function of what is declared and what is there.

A slot is a place for one worker, `<pipeline>-<type>-<number>`; its name is stable over restarts, because Kafka knows
the worker by it. Of a type with n workers declared, n slots that are not just draining are held, live ones first, then
the lowest numbers. A slot that waits for its restart holds its number too, else a crash loop would wander through the
numbers without any pause; but where fewer are wanted it goes before one that serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.actuators.base import SlotProblem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoscaler.actuators.base import ActuatorSettings

#: The worker's exit codes that no restart mends (sysexits.h), and what they mean.
REFUSALS = {
    2: "the worker refuses its command line: see its log",
    64: "the worker refuses its configuration: see its log, mend the file",
    73: "another process holds this slot: see its log, stop that process",
}
_MEANINGS = {
    0: "ended without being asked to",
    69: "the worker could not reach the broker",
    70: "the model is broken: see the worker's log",
}
#: 2 ** 32 times any pause is beyond any cap; more would only overflow.
_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A place for one worker."""

    worker_type: str
    number: int

    def name(self, pipeline: str) -> str:
        """The worker's name: its group instance id and transactional id."""
        return f"{pipeline}-{self.worker_type}-{self.number}"


@dataclass(frozen=True, slots=True)
class Live:
    """A worker process that runs."""

    asked_at_s: float
    #: When SIGTERM was sent; `None` = it shall go on.
    draining_since_s: float | None = None
    #: Whether SIGKILL was sent.
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A slot whose worker has ended, or was never born."""

    at_s: float
    #: Exit code, negative for a signal; `None` = not known.
    exit_code: int | None
    #: Ends in a row that nobody asked for and that came early; 0 = it was asked to end.
    crashes: int
    #: Whether it was asked to end.
    drained: bool


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker in this slot."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask the worker to finish and leave (SIGTERM)."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Kill:
    """The worker did not leave in time (SIGKILL)."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Forget:
    """The slot is empty for good: its static membership of the group goes, too."""

    slot: Slot


Instruction = Start | Drain | Kill | Forget


def instruct(
    declared: Mapping[str, int],
    live: Mapping[Slot, Live],
    ended: Mapping[Slot, Ended],
    now_s: float,
    settings: ActuatorSettings,
) -> list[Instruction]:
    """The steps to take now; what is under way or not yet due needs none.

    Args:
        declared: Workers wanted by type; a type left out has none.
        live: Running workers. A slot is in `live` or in `ended`, never in both.
        ended: Slots whose worker is gone and that were not forgotten yet.
        now_s: Unix seconds.
        settings: Deadlines and pauses.

    Returns:
        Forgets and kills first, then drains, then starts, each by slot: a slot is free before it is used again.
    """
    wanted = _wanted(declared, live, ended)
    forgets: list[Instruction] = []
    kills: list[Instruction] = []
    drains: list[Instruction] = []
    starts: list[Instruction] = []
    for slot in sorted(live):
        worker = live[slot]
        if worker.draining_since_s is not None:
            late = _over(worker.draining_since_s, settings.drain_deadline_s, now_s)
            if late and not worker.killed:
                kills.append(Kill(slot))
        elif slot not in wanted:
            drains.append(Drain(slot))
    # What was drained leaves the group before its number is used again, or the removal would hit the new worker.
    forgets.extend(Forget(slot) for slot in sorted(ended) if slot not in wanted or ended[slot].drained)
    for slot in sorted(wanted - set(live)):
        before = ended.get(slot)
        if before is None or _over(before.at_s, next_start_at_s(before, settings) - before.at_s, now_s):
            starts.append(Start(slot))
    return [*forgets, *kills, *drains, *starts]


def next_start_at_s(end: Ended, settings: ActuatorSettings) -> float:
    """When a slot may be started again: `initial * 2^(crashes - 1)` seconds after its end, capped; or as refused."""
    if end.drained or end.crashes < 1:
        return end.at_s
    if end.exit_code in REFUSALS:
        return end.at_s + settings.refused_retry_s
    doublings = min(end.crashes - 1, _MOST_DOUBLINGS)
    return end.at_s + min(settings.backoff_max_s, settings.backoff_initial_s * 2.0**doublings)


def after_end(
    worker: Live, exit_code: int | None, crashes_before: int, now_s: float, settings: ActuatorSettings
) -> Ended:
    """What to remember of a worker that has ended."""
    if worker.draining_since_s is not None:
        return Ended(at_s=now_s, exit_code=exit_code, crashes=0, drained=True)
    stable = now_s - worker.asked_at_s >= settings.stable_after_s
    return Ended(at_s=now_s, exit_code=exit_code, crashes=1 if stable else crashes_before + 1, drained=False)


def problems(
    pipeline: str, ended: Mapping[Slot, Ended], crashes: Mapping[Slot, int], settings: ActuatorSettings
) -> tuple[SlotProblem, ...]:
    """Slots that do not stay up, worst first.

    Args:
        pipeline: For the names.
        ended: Slots that wait for their restart.
        crashes: Crashes in a row before the present, still short life, by slot: a loop is one while it is up, too.
        settings: From how many crashes it is a loop.
    """
    found = []
    for slot, end in ended.items():
        if not end.drained and end.crashes:
            text = meaning(end.exit_code)
            if end.crashes >= settings.crash_loop_after:
                text = f"crash loop: {text}"
            found.append(
                SlotProblem(slot.name(pipeline), end.crashes, end.exit_code, next_start_at_s(end, settings), text)
            )
    for slot, count in crashes.items():
        if count >= settings.crash_loop_after and slot not in ended:
            text = f"crash loop: ended {count} times in a row, up again for less than {settings.stable_after_s:g} s"
            found.append(SlotProblem(slot.name(pipeline), count, None, None, text))
    return tuple(sorted(found, key=lambda problem: (-problem.crashes, problem.slot)))


def meaning(exit_code: int | None) -> str:
    """An exit code in words."""
    if exit_code is None:
        return "ended; its exit code went to a parent that is gone"
    if exit_code < 0:
        return f"ended by signal {-exit_code}"
    return REFUSALS.get(exit_code) or _MEANINGS.get(exit_code) or f"crashed with exit code {exit_code}: see its log"


def _over(since_s: float, pause_s: float, now_s: float) -> bool:
    """Whether a pause of `pause_s` seconds that began at `since_s` is over.

    A clock that was set back by more than the pause must not make it longer by the whole step; by less, it may.
    """
    return abs(now_s - since_s) >= pause_s


def _wanted(declared: Mapping[str, int], live: Mapping[Slot, Live], ended: Mapping[Slot, Ended]) -> set[Slot]:
    """The slots that shall hold a worker: those held already, live ones first, then the lowest free numbers."""
    draining = {slot for slot, worker in live.items() if worker.draining_since_s is not None}
    held = (set(live) - draining) | {slot for slot, end in ended.items() if not end.drained}
    wanted: set[Slot] = set()
    for worker_type, count in declared.items():
        # Scaled in by number alone, a slot in a crash loop would stay and one that serves would go.
        mine = sorted(
            (slot for slot in held if slot.worker_type == worker_type), key=lambda slot: (slot not in live, slot)
        )[:count]
        number = 0
        while len(mine) < count:
            slot = Slot(worker_type, number)
            if slot not in held and slot not in draining:
                mine.append(slot)
            number += 1
        wanted.update(mine)
    return wanted
