"""What is asked of one benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from penstock.bench.candidates import Candidate

#: Open-loop rate at which all exactly-once candidates can be compared, requests a second.
LOW_RATE = 200.0


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of one benchmark."""

    candidates: tuple[Candidate, ...]
    #: Fewest records and seconds of a throughput window.
    records: int
    seconds: float
    #: Seconds of an open-loop run.
    open_loop_s: float
    repeat: int
    directory: Path
    #: Seconds for which each of the clients' ways warms the broker before anything counts; 0 = it stays cold.
    warm_s: float = 0.0
    #: Whether to measure latency, and at shares of our own saturation as well.
    latencies: bool = True
    shares: bool = True
    #: `section.field` -> TOML value, for our worker.
    worker: Mapping[str, str] = field(default_factory=dict)
    #: Directory for profiles of our worker; `None` = it is not sampled.
    profiles: Path | None = None
    keep: bool = False
