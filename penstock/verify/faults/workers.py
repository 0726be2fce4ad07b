"""Trouble with workers: killed, frozen, coming and going, with a wrong clock."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from penstock.verify.errors import CannotVerify
from penstock.verify.faults.base import Facts, Fault
from penstock.verify.shifted_clock import set_offset

if TYPE_CHECKING:
    from random import Random

    from penstock.verify.fleet import Worker
    from penstock.verify.stage import Stage

#: Seconds for the group to miss a frozen member and give its partitions away: its session time-out and a rebalance.
TAKEN_OVER_S = 60.0
#: Seconds in which a frozen worker that goes on must have found out what happened and be a member again, or be gone.
AWAKE_S = 30.0
#: A member joins and another leaves this often in a rebalance storm, in seconds, and how often.
STORM_S, STORM_TIMES = 2.0, 4
#: How far a clock is set, in hours, at least and at most, and how long it stays wrong each way, in seconds.
LEAST_STEP_H, MOST_STEP_H, WRONG_S = 1.0, 12.0, 1.5


class Sigkill(Fault):
    """A worker is killed and started again at once, as the autoscaler does."""

    name = "sigkill"
    words = "one of three workers gets SIGKILL; a replacement in its slot is started at once"

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Measures `replacement_ready_s` (from the kill) and `recovery_s` (from ready to results of all it owned)."""
        victim, partitions = stage.victim(random)
        killed_at_s = time.monotonic()
        stage.fleet.kill(victim)
        ready_at_s = stage.fleet.wait_ready(stage.fleet.start(victim.slot))
        back_at_s = stage.watch.first_after(partitions, ready_at_s, TAKEN_OVER_S)
        if back_at_s is None:
            raise CannotVerify(
                f"the partitions {sorted(partitions)} of {victim.slot} give no result after its restart", "see its log"
            )
        return {"replacement_ready_s": ready_at_s - killed_at_s, "recovery_s": back_at_s - ready_at_s}


class Zombie(Fault):
    """A worker is frozen until others do its work, then goes on.

    In every other run the others are the rest of the group, which owns its partitions after the session time-out; in
    the runs between, a replacement in the same slot, as a fleet's manager starts it on another host when one does not
    answer. Frozen with a batch in hand it must not deliver anything of it once it goes on.
    """

    name = "zombie"
    words = "SIGSTOP, its partitions taken over (by the group, or by a replacement in its slot), then SIGCONT"

    def __init__(self) -> None:
        self._run = 0

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Measures `zombie_awake_s`: from SIGCONT until it is a member again, or has ended."""
        self._run += 1
        victim, partitions = stage.victim(random)
        victim.signal(signal.SIGSTOP)
        try:
            return self._by_group(stage, victim, partitions) if self._run % 2 else self._by_twin(stage, victim)
        finally:
            victim.signal(signal.SIGCONT)

    def _by_group(self, stage: Stage, victim: Worker, partitions: frozenset[int]) -> Facts:
        def taken() -> bool:
            owned = stage.owned()
            return bool(owned) and victim.slot not in owned and partitions <= frozenset().union(*owned.values())

        stage.until(taken, f"the partitions of the frozen {victim.slot} have new owners", TAKEN_OVER_S)
        stage.healed(time.monotonic())
        woken_at_s = time.monotonic()
        victim.signal(signal.SIGCONT)
        stage.until(
            lambda: not victim.alive() or bool(stage.owned().get(victim.slot)),
            f"{victim.slot}, awake again, is a member or has ended",
            AWAKE_S,
        )
        awake_s = time.monotonic() - woken_at_s
        if not victim.alive():
            # To end is a right answer too; the fleet's manager starts it again.
            stage.fleet.wait_ready(stage.fleet.start(victim.slot))
        return {"zombie_awake_s": awake_s}

    def _by_twin(self, stage: Stage, victim: Worker) -> Facts:
        twin = stage.fleet.start(victim.slot, state_dir=stage.directory / f"other-host-{self._run}")
        stage.healed(stage.fleet.wait_ready(twin))
        woken_at_s = time.monotonic()
        victim.signal(signal.SIGCONT)
        ended = stage.fleet.wait_ended(victim, AWAKE_S)
        if not ended:
            stage.fleet.kill(victim)
            raise CannotVerify(
                f"{victim.slot} was replaced while it was frozen and, awake again, did not end within {AWAKE_S:g} s: "
                f"{victim.said()}",
                "see its log",
            )
        return {"zombie_awake_s": time.monotonic() - woken_at_s}


class RebalanceStorm(Fault):
    """Members come and go so fast that the group hardly does anything but rebalance."""

    name = "rebalance-storm"
    words = f"every {STORM_S:g} s one worker joins and another leaves (SIGTERM)"
    workers = 2

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Measures nothing of its own."""
        guests: list[Worker] = []
        for number in range(STORM_TIMES):
            began_s = time.monotonic()
            guests.append(stage.fleet.start(f"{stage.pipeline}-guest-{number}"))
            if number:
                stage.fleet.stop(guests[-2])
            time.sleep(max(began_s + STORM_S - time.monotonic() + random.uniform(-0.2, 0.2), 0.0))
        stage.fleet.stop(guests[-1])
        for guest in guests:
            if not stage.fleet.wait_ended(guest, AWAKE_S):
                raise CannotVerify(f"{guest.slot} does not end after SIGTERM: {guest.said()}", "see its log")
        stage.until(stage.settled, "the group has settled after the storm")
        stage.healed(time.monotonic())
        return {}


class ClockStep(Fault):
    """The workers' wall clock is set forward by hours, back by hours, and right again."""

    name = "clock-step"
    words = f"the workers' wall clock is set {LEAST_STEP_H:g} to {MOST_STEP_H:g} hours forward, then back, then right"
    workers = 2
    clock = True

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Measures nothing of its own."""
        if stage.clock is None:
            raise CannotVerify("the workers' clock cannot be set", "start them with one")
        step_s = random.uniform(LEAST_STEP_H, MOST_STEP_H) * 3600
        for offset_s in (step_s, -step_s, 0.0):
            set_offset(stage.clock, offset_s)
            time.sleep(WRONG_S)
            stage.healed(time.monotonic())
        return {}
