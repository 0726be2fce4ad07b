"""What a simulation is run on: the group, its worker types, the objective and how much load it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoscaler.model import Objective, ServiceCurve, WorkerType


@dataclass(frozen=True, slots=True)
class SimulatedType:
    """How workers of a kind truly are; what a policy believes of them at first is the same without the spread."""

    name: str
    curve: ServiceCurve
    #: What one worker costs an hour; with 1 costs read as worker-hours.
    price_per_hour: float = 1.0
    #: Seconds from the decision to a worker that joins the group.
    boot_s: float = 20.0
    #: Boots take `boot_s` times a uniform number between 1 - spread and 1 + spread; 0 <= spread < 1.
    boot_spread: float = 0.0
    min_workers: int = 1
    max_workers: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.boot_spread < 1:
            raise ValueError(f"boot_spread={self.boot_spread}: must be at least 0 and below 1, e.g. 0.2 for +-20 %")
        self.as_worker_type()  # checks the rest

    def as_worker_type(self, boot_s: float | None = None) -> WorkerType:
        """As a policy is told of it: with the boot that was seen, before any start with the configured one."""
        return WorkerType(
            name=self.name,
            device="emulated",
            price_per_hour=self.price_per_hour,
            min_workers=self.min_workers,
            max_workers=self.max_workers,
            curve=self.curve,
            boot_s=self.boot_s if boot_s is None else boot_s,
        )


#: Of the reference scenario: 168 records a second at full batches, 50 one by one.
REFERENCE_TYPE = SimulatedType("cpu", ServiceCurve(0.015, 0.005, 16), boot_spread=0.2)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A group under load; the defaults are the reference scenario.

    Raises:
        ValueError: a value is out of its range; the message names field, value and cure.
    """

    partitions: int = 64
    #: Zipf exponent of the partitions' shares, 0 = even: the k-th busiest gets a share in proportion to k^-skew.
    skew: float = 0.0
    #: Seconds from arrival to answer within which a request is in time.
    objective_s: float = 1.0
    #: Share of the requests that must be in time, above 0 and below 1.
    objective_share: float = 0.99
    #: Seconds between two commits of a worker: what a policy sees as lag is behind by half of it. 0 = with each batch,
    #: as Penstock's workers do.
    commit_interval_s: float = 1.0
    #: `cooperative`: only partitions that move pause; `eager`: all do.
    rebalance: Literal["cooperative", "eager"] = "cooperative"
    #: Seconds that such a partition is not read.
    rebalance_pause_s: float = 3.0
    #: The load's mean rate is scaled to need so many workers of the first type at full batches; `None` = see
    #: `mean_rate`.
    mean_workers: float | None = 8.0
    #: The mean rate itself, records a second; wins over `mean_workers`.
    mean_rate: float | None = None
    #: Seconds at the start that count in no measure: a policy starts without history, and its first fleet is a guess.
    warm_up_s: float = 120.0
    #: Of arrivals, partitions and boots.
    seed: int = 1
    worker_types: tuple[SimulatedType, ...] = (REFERENCE_TYPE,)

    def __post_init__(self) -> None:
        for name, (low, high, words) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name}={value}: must be {words}")
        if self.rebalance not in {"cooperative", "eager"}:
            raise ValueError(f"rebalance={self.rebalance!r}: must be cooperative or eager")
        if self.mean_rate is None and self.mean_workers is None:
            raise ValueError("mean_workers=None: give mean_workers or mean_rate, e.g. mean_workers = 8")
        names = [kind.name for kind in self.worker_types]
        if not names:
            raise ValueError("worker_type: give at least one")
        if len(set(names)) < len(names):
            raise ValueError(f"worker_type.name={names}: each type needs a name of its own")

    @property
    def rate_per_s(self) -> float:
        """Mean rate that the load is scaled to, records a second."""
        if self.mean_rate is not None:
            return self.mean_rate
        return (self.mean_workers or 0.0) * self.worker_types[0].curve.capacity_per_s

    @property
    def objective(self) -> Objective:
        """What is to be met."""
        return Objective(self.objective_s, self.objective_share)


_LEAST, _MOST = 1e-9, 1e12

#: Field -> inclusive bounds and what is allowed.
_RANGES: dict[str, tuple[float, float, str]] = {
    "partitions": (1, 100_000, "1 to 100000"),
    "skew": (0, 10, "0 (even) to 10"),
    "objective_s": (_LEAST, _MOST, "above 0 seconds"),
    "objective_share": (_LEAST, 1 - _LEAST, "above 0 and below 1, e.g. 0.99"),
    "commit_interval_s": (0, _MOST, "0 seconds (with each batch) or more"),
    "rebalance_pause_s": (0, _MOST, "0 seconds or more"),
    "mean_workers": (_LEAST, _MOST, "above 0 workers"),
    "mean_rate": (_LEAST, _MOST, "above 0 records a second"),
    "warm_up_s": (0, _MOST, "0 seconds or more"),
    "seed": (0, 2**63, "0 or more"),
}
