"""Whether a measurement can be trusted: what the machine did beside it, and how well it repeats itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from penstock.bench.cpu import machine_cpu_s, tree_cpu_s

if TYPE_CHECKING:
    from penstock.profile.job import Noise

#: Spread of repeated runs of one size above which the figures are not to be trusted. A quiet machine shows 1 to 3 %.
MOST_SPREAD = 0.10
#: Relative half width of the interval of a size's seconds at which it is known well enough: well below what the fit may
#: be off. A noisy machine is measured for longer until it is, and not for ever.
KNOWN = 0.03
#: The same where the time was up: above it the figures are not to be trusted.
MOST_UNKNOWN = 0.05
#: Share of processor time taken by the hypervisor; above it the neighbours are being measured.
MOST_STEAL = 0.02
#: Cores kept busy by others, as a share of all.
MOST_OTHERS = 0.25
#: Share of the time in which the process could not run though it wanted to.
MOST_WAITING = 0.10


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of the machine at one moment, in seconds."""

    at_s: float
    steal_s: float | None
    all_s: float
    machine_s: float
    own_s: float

    @classmethod
    def now(cls, at_s: float, pid: int) -> Reading:
        """Read them; `at_s` is the time of a monotonic clock."""
        times = psutil.cpu_times()
        steal = getattr(times, "steal", None)
        return cls(at_s, None if steal is None else float(steal), float(sum(times)), machine_cpu_s(), tree_cpu_s(pid))

    def steal_until(self, later: Reading) -> float | None:
        """Share of all processor time that was stolen until `later`; `None` = not known."""
        if self.steal_s is None or later.steal_s is None or later.all_s <= self.all_s:
            return None
        return (later.steal_s - self.steal_s) / (later.all_s - self.all_s)

    def others_until(self, later: Reading) -> float:
        """Cores that other programs kept busy until `later`."""
        busy_s = (later.machine_s - self.machine_s) - (later.own_s - self.own_s)
        return max(0.0, busy_s / max(later.at_s - self.at_s, 1e-9))


def doubts(noise: Noise, cores: int) -> tuple[str, ...]:
    """Why the figures are not to be trusted, a sentence each; empty = they are."""
    found = []
    if noise.round_spread > MOST_SPREAD:
        found.append(
            f"repeated runs of one batch size differ by {noise.round_spread:.0%} (up to {MOST_SPREAD:.0%} is usual)"
        )
    if noise.steal is not None and noise.steal > MOST_STEAL:
        found.append(f"the hypervisor took {noise.steal:.1%} of the processor time")
    if noise.other_cores > MOST_OTHERS * cores:
        found.append(f"other programs kept {noise.other_cores:.1f} of {cores} cores busy")
    if noise.kept_waiting is not None and noise.kept_waiting > MOST_WAITING:
        found.append(f"the process was kept from running for {noise.kept_waiting:.0%} of the time")
    if noise.known_within is not None and noise.known_within > MOST_UNKNOWN:
        found.append(f"one batch size is known within {noise.known_within:.1%} only ({MOST_UNKNOWN:.0%} is allowed)")
    if noise.rounds_left_out > 0:
        found.append(
            f"{noise.rounds_left_out} rounds over the batch sizes were left out: they took too long for --seconds"
        )
    return tuple(found)
