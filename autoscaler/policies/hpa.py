"""The arithmetic of Kubernetes' HorizontalPodAutoscaler for one external metric with a target per replica.

Every sync (15 s): replicas = ceil(metric / target), or as they are while metric / (target * replicas) is within the
tolerance of 1; then the highest recommendation of the last five minutes, so that only scale-in is held back; then the
limits on how fast replicas may change. Replicas that start count like those that serve, so nothing is asked for twice,
and nothing is known of how long a start takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Without `behavior` in the manifest the fleet may double at each sync, and to 4 in any case.
_LEGACY_FACTOR, _LEGACY_LEAST = 2, 4


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """`behavior.scaleUp` or `.scaleDown`: one policy of each kind over one sync, of which the larger change wins."""

    #: Replicas that may be added or removed; 0 = no such policy.
    pods: int = 0
    #: Per cent that may be added or removed; 0 = no such policy.
    percent: int = 0


#: What Kubernetes fills in where `behavior` is given without policies.
DEFAULT_UP = ScalingRules(pods=4, percent=100)
DEFAULT_DOWN = ScalingRules(percent=100)


def desired_replicas(metric: float, target: float, replicas: int, tolerance: float) -> int:
    """Replicas for an AverageValue target: `replicas` within the tolerance, else ceil(metric / target).

    Args:
        metric: Sum over all replicas.
        target: Of one replica, > 0.
        replicas: As they are, those that start included.
        tolerance: Part of the target by which the average may be off.
    """
    if replicas > 0 and abs(metric / (target * replicas) - 1) <= tolerance:
        return replicas
    return math.ceil(metric / target - 1e-9)


@dataclass(frozen=True, slots=True)
class Recommendations:
    """The recommendations that may still be the highest of the window: times ascend, replicas descend."""

    entries: tuple[tuple[float, int], ...] = ()

    def add(self, at_s: float, replicas: int, window_s: float) -> Recommendations:
        """With the one of now, without those older than the window."""
        kept = [(then_s, n) for then_s, n in self.entries if n > replicas and at_s - window_s <= then_s <= at_s]
        return Recommendations((*kept, (at_s, replicas)))

    @property
    def highest(self) -> int:
        """The highest of the window.

        Raises:
            IndexError: nothing was added.
        """
        return self.entries[0][1]


def up_limit(replicas: int, rules: ScalingRules | None) -> int:
    """Most replicas after this sync; `None` = no `behavior` given."""
    if rules is None:
        return max(_LEGACY_FACTOR * replicas, _LEGACY_LEAST)
    by_percent = math.ceil(replicas * (1 + rules.percent / 100) - 1e-9)
    return max(replicas, replicas + rules.pods, by_percent)


def down_limit(replicas: int, rules: ScalingRules | None) -> int:
    """Fewest replicas after this sync; `None` = no `behavior` given, hence no limit."""
    if rules is None:
        return 0
    by_percent = math.floor(replicas * (1 - rules.percent / 100) + 1e-9)
    return max(0, min(replicas - rules.pods, by_percent))


def limited(
    wanted: int, replicas: int, least: int, most: int, rules: tuple[ScalingRules | None, ScalingRules | None]
) -> int:
    """`wanted` within minReplicas, maxReplicas and the rules for up and down."""
    up, down = rules
    if wanted > replicas:
        return max(least, min(wanted, most, up_limit(replicas, up)))
    return min(most, max(wanted, least, down_limit(replicas, down)))
