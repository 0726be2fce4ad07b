"""Shadow policies: asked at each decision of the policy in charge, on the same observation, and never obeyed.

What a shadow would have is fiction: it is shown the fleet and the backlog that are there, which are the work of the
policy in charge. Its cost is that of the fleets it asked for, not of one that it ever had.

They have a thread of their own. A shadow that is slow misses looks, one that raises is given up and told once; the
policy in charge notices neither.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from penstock.policy_runner import PolicyRunner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from autoscaler.model import Decision, Objective, WorkerType
    from autoscaler.redis_store import MetricsStore
    from autoscaler.settings import PolicySettings
    from penstock.deciding import Look

log = logging.getLogger(__name__)

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How one shadow stands beside the policy in charge, since that took the pipeline over."""

    #: As in the settings, e.g. `keda:lag_threshold=20`.
    name: str
    #: Its newest decision; `None` = none yet.
    decision: Decision | None = None
    #: That of the policy in charge on the same observation.
    live: Decision | None = None
    #: Prices of the two fleets an hour; of types that have none, nothing.
    price_per_hour: float = 0.0
    live_price_per_hour: float = 0.0
    #: Time of the first decision; `None` = none yet.
    since_s: float | None = None
    decisions: int = 0
    #: How many asked for another fleet.
    differed: int = 0
    #: What the fleets that were asked for have cost since then, without times in which nobody decided.
    cost: float = 0.0
    live_cost: float = 0.0
    #: Why it was given up; `None` = it goes on.
    failed: str | None = None

    def fields(self) -> dict[str, object]:
        """What stands in Redis besides the decision itself."""
        live = self.live
        return {
            "policy": self.name,
            "live_fleet": None if live is None else live.fleet,
            "live_reason": None if live is None else live.reason,
            "live_price_per_hour": self.live_price_per_hour,
            "shadow_price_per_hour": self.price_per_hour,
            "shadow_since_s": self.since_s,
            "shadow_decisions": self.decisions,
            "shadow_differed": self.differed,
            "shadow_cost": self.cost,
            "shadow_live_cost": self.live_cost,
            "shadow_failed": self.failed,
        }

    def after(self, decision: Decision, live: Decision, worker_types: Sequence[WorkerType], gap_s: float) -> Standing:
        """With one more decision.

        Args:
            decision: Its own.
            live: That of the policy in charge.
            worker_types: For their prices.
            gap_s: Longest time in seconds between two decisions that counts.
        """
        prices = {kind.name: kind.price_per_hour for kind in worker_types}
        past_s = live.at_s - self.live.at_s if self.live is not None else 0.0
        hours = past_s / _HOUR_S if 0 < past_s <= gap_s else 0.0
        return replace(
            self,
            decision=decision,
            live=live,
            price_per_hour=_price(decision.fleet, prices),
            live_price_per_hour=_price(live.fleet, prices),
            since_s=live.at_s if self.since_s is None else self.since_s,
            decisions=self.decisions + 1,
            differed=self.differed + (_some(decision.fleet) != _some(live.fleet)),
            cost=self.cost + self.price_per_hour * hours,
            live_cost=self.live_cost + self.live_price_per_hour * hours,
        )


class Shadows:
    """All shadows of one pipeline. `begin` and `watch` return at once and never raise.

    Args:
        rules: Which policies, as `PolicyRunner` reads them.
        objective: What must hold.
        settings: How Penstock's own policy decides.
        store: Where decisions are written.

    Raises:
        UnknownPolicy: there is no such policy.
        ValueError: a parameter is out of its range.
    """

    def __init__(
        self, rules: Iterable[str], objective: Objective, settings: PolicySettings, store: MetricsStore
    ) -> None:
        self._rules = tuple(rules)
        self._objective = objective
        self._settings = settings
        self._store = store
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "shadows")
        #: What is to be looked at next: a slow shadow looks at the newest only.
        self._next: tuple[int, Look, Decision] | None = None
        self._busy = False
        self._term = 0
        self._runners: dict[str, PolicyRunner] = {}
        self._standings: dict[str, Standing] = {}
        self.begin()

    def begin(self) -> None:
        """The pipeline was taken over: shadows begin anew, as if they had just been started."""
        with self._lock:
            self._term += 1
            self._runners = {rule: PolicyRunner(rule, self._objective, self._settings) for rule in self._rules}
            self._standings = {rule: Standing(rule) for rule in self._rules}
            self._next = None

    def watch(self, look: Look, decision: Decision) -> None:
        """The policy in charge has decided; the shadows are asked about the same."""
        if not self._rules:
            return
        with self._lock:
            self._next = (self._term, look, decision)
            if self._busy:
                return
            self._busy = True
        try:
            self._thread.submit(self._work)
        except RuntimeError:
            # Closed already.
            self._busy = False

    def standings(self) -> tuple[Standing, ...]:
        """How they stand; callable from any thread."""
        with self._lock:
            return tuple(self._standings.values())

    def close(self) -> None:
        """Ask no more, and wait for what is being asked."""
        with self._lock:
            self._next = None
        self._thread.shutdown(wait=True)

    def _work(self) -> None:
        while True:
            with self._lock:
                following, self._next = self._next, None
                if following is None:
                    self._busy = False
                    return
                term, look, live = following
                asked = [(self._runners[name], one) for name, one in self._standings.items() if one.failed is None]
            for runner, standing in asked:
                self._keep(term, look, self._asked(runner, standing, look, live))

    def _asked(self, runner: PolicyRunner, standing: Standing, look: Look, live: Decision) -> Standing:
        try:
            decision = runner.decide(look.observation, look.worker_types)
            # What has no fleet is no decision: it fails here, and not where it is written.
            return standing.after(decision, live, look.worker_types, self._settings.sample_gap_s)
        except Exception as error:
            # Whatever a candidate raises, it is only given up.
            failed = f"{type(error).__name__}: {error}"
            log.exception("autoscaler.shadow_failed", extra={"policy": standing.name})
            return replace(standing, failed=failed)

    def _keep(self, term: int, look: Look, standing: Standing) -> None:
        with self._lock:
            if term != self._term:
                return
            self._standings[standing.name] = standing
        self._store.record_shadow(standing.name, look.observation, standing.decision, standing.fields())


def _price(fleet: Mapping[str, int], prices: Mapping[str, float]) -> float:
    return round(sum(count * prices.get(kind, 0.0) for kind, count in fleet.items()), 6)


def _some(fleet: Mapping[str, int]) -> dict[str, int]:
    return {kind: count for kind, count in fleet.items() if count}
