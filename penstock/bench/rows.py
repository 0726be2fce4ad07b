"""What is printed: one row a candidate and rate, as JSON; repeats are reduced to their median."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from penstock.bench.candidates import Candidate


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate at saturation (with its latency at the low rate, if measured), or one at a higher rate.

    `None` = not measured.
    """

    name: str
    client: str | None
    delivery: str | None
    encoding: str
    rows_per_request: int
    #: At saturation: requests and their rows answered a second, and processor time a request.
    records_per_s: float | None = None
    rows_per_s: float | None = None
    cpu_us_per_record: float | None = None
    #: Open loop at `rate` requests a second, from the intended send to a result that can be read.
    p50_ms: float | None = None
    p99_ms: float | None = None
    rate: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    #: Why there are no figures, or what is wrong with them; `None` = nothing.
    note: str | None = None
    #: What else is known, e.g. lowest and highest of the repeats; names with their units.
    more: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As it is printed."""
        told = dataclasses.asdict(self)
        return {name: _rounded(value) for name, value in told.items()}


@dataclass
class Measured:
    """All that the repeats showed of one candidate."""

    candidate: Candidate
    #: By field of `Row` or name in `more`: a value a repeat, at saturation.
    saturated: dict[str, list[float]] = field(default_factory=dict)
    #: The same by rate, of the open loop.
    open_loop: dict[float, dict[str, list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, values: Mapping[str, float | None], *, rate: float | None = None) -> None:
        """The values of one repeat; those that are `None` were not measured."""
        into = self.saturated if rate is None else self.open_loop.setdefault(rate, {})
        for name, value in values.items():
            if value is not None:
                into.setdefault(name, []).append(value)

    def rows(self, versions: Mapping[str, str], low_rate: float) -> list[Row]:
        """The row at saturation, with the latency at the low rate, and one for each other rate."""
        one = self.candidate
        low = self.open_loop.get(low_rate)
        note = "; ".join(dict.fromkeys(self.notes)) or None
        used = {name: versions[name] for name in one.uses if name in versions}
        main = Row(
            one.name, one.client, one.delivery, one.encoding, one.rows,
            records_per_s=_median(self.saturated, "records_per_s"),
            rows_per_s=_median(self.saturated, "rows_per_s"),
            cpu_us_per_record=_median(self.saturated, "cpu_us_per_record"),
            p50_ms=_median(low, "p50_ms"),
            p99_ms=_median(low, "p99_ms"),
            rate=low_rate if low else None,
            versions=used,
            note=note,
            more={**_spread(self.saturated), **_spread(low or {}), **self.facts},
        )  # fmt: skip
        others = [
            Row(
                one.name, one.client, one.delivery, one.encoding, one.rows,
                p50_ms=_median(values, "p50_ms"),
                p99_ms=_median(values, "p99_ms"),
                rate=rate,
                versions=used,
                more=_spread(values),
            )
            for rate, values in sorted(self.open_loop.items())
            if rate != low_rate
        ]  # fmt: skip
        return [main, *others]


def _median(values: Mapping[str, Sequence[float]] | None, name: str) -> float | None:
    found = (values or {}).get(name)
    return statistics.median(found) if found else None


def _spread(values: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Lowest and highest of what stands in the row, the median of the rest."""
    own = {entry.name for entry in dataclasses.fields(Row)}
    told: dict[str, Any] = {}
    for name, found in values.items():
        if name not in own:
            told[name] = statistics.median(found)
        elif len(found) > 1:
            told[f"{name}_lowest"], told[f"{name}_highest"] = min(found), max(found)
    return told


def _rounded(value: Any) -> Any:
    """Numbers as people read them: no digit beyond what was measured."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return value


def find(
    rows: Iterable[Row], name: str, *, delivery: str | None = None, encoding: str = "binary", per_request: int = 1,
    rate: float | None = None,
) -> Row | None:  # fmt: skip
    """The row of a name; the one at a rate, or else the one at saturation (the first of its kind)."""
    for row in rows:
        fits = row.name == name and row.encoding == encoding and row.rows_per_request == per_request
        if fits and (delivery is None or row.delivery == delivery) and (rate is None or row.rate == rate):
            return row
    return None
