"""What the demo asks the traffic process for, and what that process says back. Files and lines, no Kafka."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Request ids are this and the request's number.
ID_PREFIX = "demo-"


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """Everything the traffic process needs to know."""

    bootstrap: str
    pipeline: str
    #: Seconds after the last request in which no result may come before it gives up waiting.
    quiet_s: float
    #: Intended send times, seconds after the start, sorted; shape (n,).
    times_s: NDArray[np.float64]
    #: What each request asks about: one row of the model's input; for the demo pictures, FP32 (n, 8, 8, 1).
    images: NDArray[np.float32]
    #: Name of that input.
    input_name: str = "image"
    #: Partition of each request, (n,); `None` = by a key of its own, as many users would.
    partitions: NDArray[np.int32] | None = None

    def save(self, directory: Path) -> None:
        """Write the plan into `directory`."""
        where = {} if self.partitions is None else {"partitions": self.partitions}
        np.savez(directory / "plan.npz", times_s=self.times_s, images=self.images, **where)  # type: ignore[arg-type] # numpy's stub takes each keyword for `allow_pickle`
        words = {name: getattr(self, name) for name in ("bootstrap", "pipeline", "quiet_s", "input_name")}
        (directory / "plan.json").write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> TrafficPlan:
        """Read what `save` wrote."""
        words = json.loads((directory / "plan.json").read_text(encoding="utf-8"))
        with np.load(directory / "plan.npz", allow_pickle=False) as arrays:
            return cls(**words, **{name: arrays[name] for name in arrays.files})


@dataclass(frozen=True, slots=True)
class TrafficLog:
    """What the traffic process did and saw. Times are Unix seconds of this machine's clock."""

    #: When the load began: intended times count from here.
    started_at_s: float
    #: When each request was handed to the producer, (n,); NaN = never.
    sent_at_s: NDArray[np.float64]
    #: Whether the broker acknowledged each, (n,).
    acknowledged: NDArray[np.bool_]
    #: When a `read_committed` reader first had the result of each, (n,); NaN = it never did.
    received_at_s: NDArray[np.float64]

    def save(self, directory: Path) -> None:
        """Write the log into `directory`."""
        np.savez(
            directory / "traffic.npz",
            started_at_s=self.started_at_s,
            sent_at_s=self.sent_at_s,
            acknowledged=self.acknowledged,
            received_at_s=self.received_at_s,
        )

    @classmethod
    def load(cls, directory: Path) -> TrafficLog:
        """Read what `save` wrote."""
        with np.load(directory / "traffic.npz", allow_pickle=False) as arrays:
            return cls(
                float(arrays["started_at_s"]), arrays["sent_at_s"], arrays["acknowledged"], arrays["received_at_s"]
            )

    def lateness_p99_ms(self, times_s: NDArray[np.float64]) -> float | None:
        """99th percentile of how late the generator itself handed over its requests, in ms; `None` = none was sent."""
        late = self.sent_at_s - (self.started_at_s + times_s)
        late = late[~np.isnan(late)]
        return float(np.percentile(late, 99) * 1000) if late.size else None


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the traffic process: where it is."""

    #: `ready` = connected and waiting, `running`, `draining` = all sent, `done`.
    phase: str
    at_s: float
    started_at_s: float | None = None
    sent: int = 0
    received: int = 0
    #: 99th percentile of intended send to receipt over the last seconds, in ms; `None` = no results.
    p99_ms: float | None = None

    def line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Progress | None:
        """The line as a value; `None` = it is something else (a library's warning)."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            return None


def request_id(number: int) -> str:
    """Id of the demo's request `number`."""
    return f"{ID_PREFIX}{number}"


def request_number(identifier: str | None) -> int | None:
    """Number of the request with this id; `None` = not one of ours."""
    if identifier is None or not identifier.startswith(ID_PREFIX):
        return None
    digits = identifier[len(ID_PREFIX) :]
    return int(digits) if digits.isascii() and digits.isdigit() else None
