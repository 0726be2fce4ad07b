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
    #: The trace file, for the simulator.
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
    form = "give NAME=profile.json,price=0.05[,min=0][,max=64][,boot=8], or NAME=A_MS:B_MS:BATCH,price=..."
    name, equals, rest = text.partition("=")
    first, *pairs = rest.split(",")
    if not equals or not first:
        raise InvalidInput(f"--type {text!r}", form)
    given: dict[str, float] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        try:
            given[key.strip()] = float(value)
        except ValueError as error:
            raise InvalidInput(f"--type {text!r}: {pair!r}", form) from error
    unknown = given.keys() - {"price", "min", "max", "boot"}
    if unknown or "price" not in given:
        what = f"unknown {min(unknown)!r}" if unknown else "no price"
        raise InvalidInput(f"--type {text!r}: {what}", form)
    if not 0 < given["price"] < math.inf:
        raise InvalidInput(f"--type {text!r}: price={given['price']:g}", "give a price an hour above 0")
    curve, boot_s = _curve(first, text, form)
    try:
        return WorkerType(
            name=name.strip(),
            price_per_hour=given["price"],
            min_workers=int(given.get("min", 0)),
            max_workers=int(given.get("max", MOST_WORKERS)),
            curve=curve,
            boot_s=given.get("boot", boot_s),
        )
    except ValueError as error:
        raise InvalidInput(f"--type {text!r}: {error}", form) from error


def _curve(first: str, text: str, form: str) -> tuple[ServiceCurve, float]:
    from pathlib import Path  # noqa: PLC0415 - a name for types only, above

    parts = first.split(":")
    if len(parts) == 3 and not first.endswith(".json"):  # noqa: PLR2004 - A, B, BATCH
        try:
            a_ms, b_ms, batch = float(parts[0]), float(parts[1]), int(parts[2])
            return ServiceCurve(a_ms / 1000, b_ms / 1000, batch), WorkerType().boot_s
        except ValueError as error:
            raise InvalidInput(f"--type {text!r}: {error}", form) from error
    found = file.read(Path(first))
    return found.curve, found.setting.measured.boot_s
