"""What is planned: the workload, the worker types, the objective and the prices, checked together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.model import ServiceCurve, WorkerType
from penstock.errors import InvalidInput
from penstock.profile import file

if TYPE_CHECKING:
    from pathlib import Path

    from autoscaler.model import Objective
    from penstock.analyse.source import History
    from streams.topics import TopicSettings

#: Most workers of a type that names no bound: as many as any number of partitions that is considered.
MOST_WORKERS = 1024
#: Bytes of a request and a result where the workload does not tell them.
REQUEST_BYTES, RESULT_BYTES = 1024.0, 512.0


@dataclass(frozen=True, slots=True)
class Order:
    """One question."""

    history: History
    #: The trace file, for messages.
    trace: Path
    types: tuple[WorkerType, ...]
    objective: Objective
    #: Multiplies the recorded load: what is today, and the growth that is planned for on top.
    scale: float
    growth: float
    #: Seconds that a request needs besides waiting and service: sending, polling, committing, reading.
    overhead_s: float
    #: Seconds with one fleet.
    period_s: float
    #: Fixed; `None` = chosen.
    partitions: int | None
    #: Partitions are at least so many times the workers of the peak.
    head_room: float
    topics: TopicSettings
    request_bytes: float
    result_bytes: float
    #: Whether the bytes were measured.
    bytes_known: bool
    brokers: int
    broker_bytes_per_s: float
    disk_bytes: float | None
    zones: int
    seed: int
    #: Policies that are run against the planned load, as on the command line.
    policies: tuple[str, ...] = ()
    #: What a reader must know before they trust the plan; a sentence each.
    notes: tuple[str, ...] = ()

    @property
    def factor(self) -> float:
        """Of the recorded load."""
        return self.scale * self.growth

    def check(self) -> None:
        """Refuse what cannot be planned.

        Raises:
            InvalidInput: a value is out of its range, or no worker is fast enough for the objective.
        """
        for name, value in (("--scale", self.scale), ("--growth", self.growth)):
            if not 0 < value < math.inf:
                raise InvalidInput(f"{name} {value:g}", "give a factor above 0")
        if self.seed < 0:
            raise InvalidInput(f"--seed {self.seed}", "give 0 or more")
        for kind in self.types:
            if not 0 < kind.price_per_hour < math.inf:
                raise InvalidInput(
                    f"worker type {kind.name}: price_per_hour={kind.price_per_hour:g}", "give a price an hour above 0"
                )
        copies = self.topics.replication_factor
        if copies > self.brokers:
            raise InvalidInput(
                f"{copies} copies of each record on {self.brokers} broker{'s' * (self.brokers > 1)}",
                f"give --brokers {copies} or more, or --copies {self.brokers} or fewer",
            )
        left_s = self.objective.within_s - self.overhead_s
        fastest = min(self.types, key=lambda kind: kind.curve.seconds(1))
        service_s = fastest.curve.seconds(1)
        if left_s <= service_s:
            raise InvalidInput(
                f"objective within {self.objective.within_s * 1000:g} ms: one row takes {service_s * 1000:.3g} ms on "
                f"{fastest.name}, and sending and committing {self.overhead_s * 1000:g} ms",
                "allow more time, or name a faster worker",
            )


def worker_type(text: str) -> WorkerType:
    """Read `NAME=FILE,price=0.05[,max=64][,min=0][,boot=8]`, FILE a profile; or `NAME=A_MS:B_MS:BATCH,...`.

    Raises:
        InvalidInput: it is neither, or a value cannot be.
    """
    return noted_type(text)[0]


def noted_type(text: str) -> tuple[WorkerType, tuple[str, ...]]:
    """The same, and why its profile is not to be trusted; a sentence each, none where it is.

    Raises:
        InvalidInput: it is neither, or a value cannot be.
    """
    form = "give NAME=profile.json,price=0.05[,min=0][,max=64][,boot=8], or NAME=A_MS:B_MS:BATCH,price=..."
    name, equals, rest = text.partition("=")
    first, *pairs = rest.split(",")
    if not equals or not first:
        raise InvalidInput(f"--type {text!r}", form)
    given = _pairs(pairs, text, form)
    unknown = given.keys() - {"price", "min", "max", "boot"}
    if unknown or "price" not in given:
        what = f"unknown {min(unknown)!r}" if unknown else "no price"
        raise InvalidInput(f"--type {text!r}: {what}", form)
    if not 0 < given["price"] < math.inf:
        raise InvalidInput(f"--type {text!r}: price={given['price']:g}", "give a price an hour above 0")
    curve, boot_s, doubts = _curve(first, text, form)
    try:
        kind = WorkerType(
            name=name.strip(),
            price_per_hour=given["price"],
            min_workers=int(given.get("min", 0)),
            max_workers=int(given.get("max", MOST_WORKERS)),
            curve=curve,
            boot_s=given.get("boot", boot_s),
        )
    except ValueError as error:
        raise InvalidInput(f"--type {text!r}: {error}", form) from error
    return kind, tuple(f"worker type {kind.name}: its profile {first} is not to be trusted: {why}" for why in doubts)


def _pairs(pairs: list[str], text: str, form: str) -> dict[str, float]:
    """What stands behind the curve: finite numbers, of workers whole ones."""
    given: dict[str, float] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        key = key.strip()
        try:
            given[key] = float(value)
        except ValueError as error:
            raise InvalidInput(f"--type {text!r}: {pair!r}", form) from error
        if not math.isfinite(given[key]):
            raise InvalidInput(f"--type {text!r}: {pair!r} is no finite number", form)
        if key in {"min", "max"} and given[key] != int(given[key]):
            raise InvalidInput(f"--type {text!r}: {pair!r}", "give a whole number of workers")
    return given


def _curve(first: str, text: str, form: str) -> tuple[ServiceCurve, float, tuple[str, ...]]:
    from pathlib import Path  # noqa: PLC0415 - a name for types only, above

    parts = first.split(":")
    if len(parts) == 3 and not first.endswith(".json"):  # noqa: PLR2004 - A, B, BATCH
        try:
            a_ms, b_ms, batch = float(parts[0]), float(parts[1]), int(parts[2])
            if not math.isfinite(a_ms + b_ms):
                raise ValueError(f"{first} holds no finite number")  # noqa: TRY301 - told as the others
            return ServiceCurve(a_ms / 1000, b_ms / 1000, batch), WorkerType().boot_s, ()
        except ValueError as error:
            raise InvalidInput(f"--type {text!r}: {error}", form) from error
    found = file.read(Path(first))
    return found.curve, found.setting.measured.boot_s, found.setting.doubts
