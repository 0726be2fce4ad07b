"""The words the control plane is written in: what is known, what may come, what is decided.

Every value here is frozen and free of I/O, so that a decision is a function of its inputs and a recorded tape can be
decided again. Times are Unix seconds (`*_at_s`) or durations in seconds (`*_s`); rates are records a second
(`*_per_s`). What is not known is `None`, never 0: an empty topic and a silent collector must not look alike.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping  # noqa: TC003 - telemetry builds its codec from these annotations at run time
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Upper bounds of the latency histogram's buckets, in seconds: a factor of 10^(1/8) (1.33) apart from 1 ms to 100 s, so
#: a quantile read from it is at most a third above the truth. The bucket after the last bound has no upper end.
LATENCY_BOUNDS_S: tuple[float, ...] = tuple(round(10 ** (-3 + i / 8), 6) for i in range(41))


@dataclass(frozen=True, slots=True)
class ServiceCurve:
    """How long a batch takes: `a_s + b_s * rows` seconds, for 1 to `max_batch` rows."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Seconds that a batch costs whatever its size.
    a_s: float
    #: Seconds that each row adds.
    b_s: float
    #: Most rows in one batch.
    max_batch: int

    def __post_init__(self) -> None:
        if self.a_s < 0 or self.b_s < 0 or self.a_s + self.b_s <= 0:
            msg = f"service curve a_s={self.a_s}, b_s={self.b_s}: both must be >= 0, one above 0; give measured seconds"
            raise ValueError(msg)
        if self.max_batch < 1:
            msg = f"service curve max_batch={self.max_batch}: must be at least 1 row"
            raise ValueError(msg)

    def seconds(self, rows: int) -> float:
        """Service time of one batch of `rows` rows (rows >= 1), in seconds."""
        return self.a_s + self.b_s * rows

    @property
    def capacity_per_s(self) -> float:
        """Rows a second at full batches: `max_batch / (a_s + b_s * max_batch)`."""
        return self.max_batch / self.seconds(self.max_batch)


@dataclass(frozen=True, slots=True)
class Objective:
    """At least `share` of the requests have a result within `within_s` seconds of entering the topic."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Seconds.
    within_s: float = 1.0
    #: Share of the requests, above 0 and below 1.
    share: float = 0.99

    def __post_init__(self) -> None:
        if self.within_s <= 0:
            msg = f"objective within_s={self.within_s}: must be above 0 seconds"
            raise ValueError(msg)
        if not 0 < self.share < 1:
            msg = f"objective share={self.share}: must be between 0 and 1, e.g. 0.99"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class WorkerType:
    """What workers of a kind have in common."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Part of the slots' names, e.g. `cpu` in `digits-cpu-0`.
    name: str = "cpu"
    #: `cpu`, `gpu:N` or `emulated`.
    device: str = "cpu"
    #: What one worker costs, in the user's currency an hour; 1 makes costs read as worker-hours.
    price_per_hour: float = 1.0
    #: Never fewer than this, so that the first request finds a worker.
    min_workers: int = 1
    #: Never more than this; the partitions of the requests topic bound it too.
    max_workers: int = 8
    #: Assumed until workers report a fitted one: a small CNN on one CPU core, with room to spare.
    curve: ServiceCurve = ServiceCurve(0.005, 0.001, 64)
    #: Actuation delay assumed until starts have been seen, in seconds: a process that imports TensorFlow.
    boot_s: float = 10.0

    def __post_init__(self) -> None:
        if not self.name or not all(c.islower() or c.isdigit() for c in self.name):
            msg = f"worker_types.name={self.name!r}: must be lower-case letters and digits, e.g. cpu"
            raise ValueError(msg)
        if self.min_workers < 0 or self.max_workers < max(self.min_workers, 1):
            msg = (
                f"worker_types.min_workers={self.min_workers}, max_workers={self.max_workers}: must be 0 <= min <= max "
                "and max at least 1"
            )
            raise ValueError(msg)
        if self.price_per_hour < 0 or self.boot_s <= 0:
            msg = f"worker_types.price_per_hour={self.price_per_hour}, boot_s={self.boot_s}: price >= 0, boot_s > 0"
            raise ValueError(msg)


# --- the input tape (topic penstock.telemetry) ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Control:
    """What a person asked for in Redis; `None` = said nothing about it."""

    paused: bool | None = None
    min_workers: int | None = None
    max_workers: int | None = None
    advisory: bool | None = None


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The fleet as the actuator knows it, workers by type name."""

    #: What was last declared.
    declared: Mapping[str, int]
    #: Live processes or pods, ready or not.
    running: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided on a sample, and how much of the tape was known then: a replay decides on the same."""

    #: Offset of the claim under which it was decided.
    epoch: int
    #: Offset of the sample.
    sample: int
    #: Offset of the last record that was known.
    through: int
    action: Action
    fleet: Mapping[str, int]
    bound: str
    reason: str
    advisory: bool = False
    #: Points of the history in Redis that were known at the claim though they were not on the tape.
    from_redis: int = 0


@dataclass(frozen=True, slots=True)
class ArrivalSample:
    """Where a pipeline's requests topic and its group's commits stood at one moment."""

    pipeline: str
    at_s: float
    #: Next offset to be written, by partition.
    end_offsets: Mapping[int, int]
    #: Next offset to be answered, by partition; `None` = the group has never committed there.
    committed: Mapping[int, int | None]
    #: Known at the same moment, so that the tape alone repeats the decision; `None` = not known.
    fleet: FleetStatus | None = None
    control: Control | None = None
    #: What its writer has decided since its sample before. No decision looks at it: it is there for replays.
    decided: tuple[Decided, ...] = ()


class WorkerState(enum.StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ShadowCounts:
    """Requests computed by another version too, since it became the shadow of the served one."""

    version: str
    same: int
    different: int
    #: The shadow could not compute them.
    failed: int
    #: Passed over, since others waited for the device.
    skipped: int


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says of itself about once a second. Counters run from the worker's start."""

    pipeline: str
    #: The slot's name, e.g. `digits-cpu-0`; stable over restarts.
    worker: str
    worker_type: str
    device: str
    at_s: float
    pid: int
    host: str
    state: WorkerState
    #: When the start was asked for.
    asked_at_s: float
    #: When the model was warm and the group had first assigned; `None` = not yet.
    ready_at_s: float | None
    partitions: tuple[int, ...]
    batches: int
    rows: int
    ok: int
    failed: int
    expired: int
    #: Seconds the device was held by batches.
    busy_s: float
    curve: ServiceCurve | None
    #: Time from a request's Kafka timestamp to its committed result since the last report: counts by bucket of
    #: `LATENCY_BOUNDS_S`, one more for what is above the last bound.
    latency_counts: tuple[int, ...]
    rebalances: int
    retraces: int
    #: The version that is served.
    model_version: str
    #: Why it is not the one that a person would expect, e.g. that a newer one does not load; `None` = it is.
    model_problem: str | None = None
    #: What comparing with another version came to; `None` = nothing is compared.
    shadow: ShadowCounts | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """An agent's word that it now owns a pipeline. The offset Kafka gives the record is its epoch: the highest wins."""

    pipeline: str
    owner: str
    at_s: float
    #: Which policy it decides by, as in the settings; `None` = an older version wrote it.
    policy: str | None = None
    #: Fingerprint of the settings that it decides by: a replay with others may differ.
    settings: str | None = None


TelemetryRecord = ArrivalSample | WorkerReport | Claim


# --- what is derived -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RateWindow:
    """Arrivals over one trailing window."""

    window_s: float
    #: Records a second in sum; `None` = the window is not covered by samples.
    per_s: float | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Rolling arrival rates of one pipeline."""

    at_s: float
    #: 1 s, 10 s and 60 s windows, in sum over partitions.
    last_1s: float | None
    last_10s: float | None
    last_60s: float | None
    #: Records a second by partition over the 10 s window.
    by_partition: Mapping[int, float]
    #: Change of the rate, records a second per second (least squares over the last 60 s); `None` = too few samples.
    trend_per_s2: float | None
    #: Index of dispersion of the 1 s counts (variance over mean; 1 = Poisson); `None` = too few samples.
    burstiness: float | None
    #: Share of the arrivals on the busiest partition over 10 s or more (1/partitions when even); `None` = no arrivals.
    busiest_share: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ArrivalHistory:
    """The arrivals that a forecast is made from. Arrays, since it is made anew at each tick; never written to."""

    #: End of the newest bucket: the time of the newest sample.
    until_s: float
    #: Arrivals in sum by second before `until_s`, oldest first, shape (seconds,); 0 where not known.
    counts: NDArray[np.float64]
    #: Whether the second is known at all, shape (seconds,): a stretch without samples is not silence.
    known: NDArray[np.bool_]
    #: Arrivals by partition over the covered part of the last two minutes: who is busier than others.
    by_partition: Mapping[int, float]

    @classmethod
    def of(
        cls, until_s: float, counts: Sequence[float | None], by_partition: Mapping[int, float] | None = None
    ) -> ArrivalHistory:
        """From counts of which `None` = not known."""
        return cls(
            until_s,
            np.array([0.0 if count is None else count for count in counts], dtype=np.float64),
            np.array([count is not None for count in counts], dtype=bool),
            by_partition or {},
        )

    def __eq__(self, other: object) -> bool:
        """Equal in every second and partition."""
        return (
            isinstance(other, ArrivalHistory)
            and self.until_s == other.until_s
            and np.array_equal(self.counts, other.counts)
            and np.array_equal(self.known, other.known)
            and self.by_partition == other.by_partition
        )

    __hash__ = None  # type: ignore[assignment] # arrays have no hash

    @property
    def recent(self) -> NDArray[np.float64]:
        """Counts since the last second that is not known, shape (n,), n >= 0."""
        unknown = np.flatnonzero(~self.known)
        return self.counts[unknown[-1] + 1 :] if unknown.size else self.counts


@dataclass(frozen=True, slots=True)
class Forecast:
    """Arrivals over the actuation delay ahead."""

    at_s: float
    #: How far ahead, in seconds: the measured actuation delay.
    horizon_s: float
    #: Most likely rate at the horizon.
    mean_per_s: float
    #: Lower edge of the band shown to people.
    lower_per_s: float
    #: Rate to size for: the upper `quantile` of the highest rate in the horizon; never below what is arriving now.
    upper_per_s: float
    quantile: float
    #: `autoreg` (statsmodels) or `reactive`.
    method: str
    #: Seconds of history behind it.
    history_s: float


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """The workers of one type as their own reports have it."""

    #: Workers that serve.
    ready: int = 0
    #: When each worker that does not serve yet was asked for, ascending.
    asked_at_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class StuckPartition:
    """A partition in which records wait and nothing is committed, though the group works."""

    partition: int
    #: Seconds without progress, at least; only seconds in which the group was seen to work count.
    still_s: float
    #: Records that wait in it.
    backlog: int
    #: The worker that says that it owns it; `None` = nobody says so.
    owner: str | None = None
    #: It was stuck and moves again; only its owner can work off what has piled up.
    recovering: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """All that one decision may look at."""

    pipeline: str
    #: The only clock a decision sees.
    at_s: float
    partitions: int
    #: `None` = too few samples.
    rates: Rates | None
    #: Records without a committed result, by partition; a partition that never committed counts from its start offset.
    backlog: Mapping[int, int] | None
    fleet: FleetStatus | None
    control: Control | None
    _: KW_ONLY
    #: Reports younger than the settings' `report_fresh_s`, by worker.
    reports: Mapping[str, WorkerReport] = field(default_factory=dict)
    #: 99th percentile of the latency reported over the last 10 s; `None` = no results.
    p99_s: float | None = None
    #: What the forecast is made from; `None` = too few samples.
    history: ArrivalHistory | None = None
    #: What the fresh reports say in sum, by type; a type that nobody reported for is absent.
    workers: Mapping[str, TypeStatus] = field(default_factory=dict)
    #: When the set of workers that serve last changed, and with it the owners of partitions; `None` = not seen yet.
    rebalanced_at_s: float | None = None
    #: Latencies reported over the last 10 s, counts by bucket of `LATENCY_BOUNDS_S`; empty = no results.
    latency_counts: tuple[int, ...] = ()
    #: What more workers cannot help, the longest still first: not sized for.
    stuck: tuple[StuckPartition, ...] = ()


class Action(enum.StrEnum):
    """What a decision does to the fleet."""

    SCALE_UP = "scale-up"
    SCALE_DOWN = "scale-down"
    HOLD = "hold"
    #: Nothing known to decide on: the fleet stays as it is.
    NO_DATA = "no-data"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many workers the load needs, and why."""

    #: Sized for c separate queues, the busiest of which decides.
    workers: int
    #: What the pooled M/M/c formula (Erlang C) would say: the difference is the pooling loss.
    pooled_workers: int | None
    #: Rate sized for, records a second.
    rate_per_s: float
    #: Capacity of one worker at full batches, records a second.
    capacity_per_s: float
    #: Utilisation of the busiest worker at `workers`.
    busiest_utilisation: float
    #: In words and numbers.
    reason: str
    #: How many of `workers` are the reserve that the settings want beyond the need.
    reserve: int = 0


@dataclass(frozen=True, slots=True)
class HeadRoom:
    """What came too soon for a boot lately, and what would have had it in time; see `planning.headroom`."""

    #: Seconds of experience behind it; what is old counts less.
    experience_s: float
    #: Share of the load that was late, as measured.
    late_share: float
    #: Share that came before a boot had passed and that no course would have had in time.
    unavoidable_share: float
    #: Share that the objective allows to be late.
    allowed_share: float
    #: From the request for a worker to the worker that joins, as measured, in seconds.
    boot_s: float
    #: Fewest more workers that, there at all times, would have kept the objective; `None` = not even all that may be.
    workers: int | None
    #: Their price an hour.
    price_per_hour: float | None
    #: The longest boot that would have kept it, in seconds; `None` = none.
    boot_enough_s: float | None

    @property
    def unmet(self) -> bool:
        """Whether no policy without head room could keep the objective."""
        return self.unavoidable_share > self.allowed_share


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, and why. `fleet` is the whole declared fleet, not a difference."""

    pipeline: str
    at_s: float
    action: Action
    fleet: Mapping[str, int]
    #: In words and numbers; one sentence.
    reason: str
    #: What decided in the end: `plan`, `hysteresis`, `min`, `max`, `partitions`, `paused`, `control`, `no-data`,
    #: `starting`, `unhelpful`.
    bound: str
    plan: Plan | None
    forecast: Forecast | None
    #: The next best fleet and its price an hour; `None` where there was no choice.
    runner_up: Mapping[str, int] | None
    runner_up_price_per_hour: float | None
    #: Price of `fleet` an hour.
    price_per_hour: float
    #: True = said, not done.
    advisory: bool
    _: KW_ONLY
    #: As observed.
    stuck: tuple[StuckPartition, ...] = ()
    #: Workers of `fleet` that are kept beyond the need, and their price an hour.
    reserve: int = 0
    reserve_price_per_hour: float = 0.0
    #: `None` = not enough was seen yet, or the policy has no such thing.
    head_room: HeadRoom | None = None
