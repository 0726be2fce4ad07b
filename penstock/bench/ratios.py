"""What the figures mean beside each other: ratios within one run, each with what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.bench import candidates as names
from penstock.bench.rows import find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.bench.rows import Row

#: How far from half of the saturation a rate may be and still be called that: rates are rounded to two digits.
NEAR = 0.05


@dataclass(frozen=True, slots=True)
class Ratio:
    """One comparison."""

    name: str
    #: `None` = one of its sides was not measured.
    value: float | None
    #: `>=` or `<=`.
    relation: str
    target: float
    unit: str = ""
    #: The two sides in words.
    sides: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it is as it should be; `None` = not measured."""
        if self.value is None:
            return None
        return self.value >= self.target if self.relation == ">=" else self.value <= self.target

    def as_json(self) -> dict[str, object]:
        """As it is printed."""
        value = None if self.value is None else round(self.value, 3)
        return {
            "ratio": self.name,
            "value": value,
            "wanted": f"{self.relation} {self.target:g}{self.unit}",
            "met": self.met,
            "sides": self.sides,
        }


def ratios(rows: Sequence[Row], low_rate: float) -> list[Ratio]:
    """The comparisons that the data plane is judged by."""
    ours = find(rows, names.PENSTOCK, delivery=names.EXACTLY_ONCE)
    wide = find(rows, names.PENSTOCK, delivery=names.EXACTLY_ONCE, per_request=32)
    json = find(rows, names.PENSTOCK, delivery=names.EXACTLY_ONCE, encoding=names.JSON)
    bare = find(rows, names.TENSORFLOW_LIMIT)
    client = find(rows, names.CLIENT_LIMIT)
    written = find(rows, names.HANDWRITTEN)
    written_json = find(rows, names.HANDWRITTEN_JSON, encoding=names.JSON)
    made = [
        _over(
            "exactly-once records/s over the Kafka client's limit",
            ours,
            client,
            "records_per_s",
            relation=">=",
            target=0.8,
        ),
        _over(
            "exactly-once records/s over a hand-written loop", ours, written, "records_per_s", relation=">=", target=4.0
        ),
        _cpu(ours, client, bare),
        _over("rows/s at 32 rows a request over bare TensorFlow", wide, bare, "rows_per_s", relation=">=", target=0.7),
        _over(
            "JSON records/s over a hand-written JSON loop",
            json,
            written_json,
            "records_per_s",
            relation=">=",
            target=1.3,
        ),
    ]
    for field, most in (("p50_ms", 10.0), ("p99_ms", 35.0)):
        value = getattr(find(rows, names.PENSTOCK, delivery=names.EXACTLY_ONCE, rate=low_rate) or ours, field, None)
        made.append(Ratio(f"exactly-once {field[:3]} at {low_rate:g}/s", value, "<=", most, " ms"))
    return [*made, *_against_best(rows, low_rate)]


def _over(name: str, above: Row | None, below: Row | None, field: str, *, relation: str, target: float) -> Ratio:
    top, bottom = getattr(above, field, None), getattr(below, field, None)
    sides = f"{_number(top)} / {_number(bottom)}"
    return Ratio(name, top / bottom if top is not None and bottom else None, relation, target, sides=sides)


def _cpu(ours: Row | None, client: Row | None, bare: Row | None) -> Ratio:
    name = "processor time a record over client limit + bare TensorFlow"
    top = ours.cpu_us_per_record if ours else None
    # The cheapest way to run the model that was seen, which need not be the quickest.
    model = (bare.more.get("least_cpu_us_per_row") or bare.cpu_us_per_record) if bare else None
    limit = client.cpu_us_per_record if client else None
    sides = f"{_number(top)} / ({_number(limit)} + {_number(model)}) us"
    value = top / (limit + model) if top is not None and limit and model else None
    return Ratio(name, value, "<=", 1.3, sides=sides)


def _against_best(rows: Sequence[Row], low_rate: float) -> list[Ratio]:
    """Tails beside the best exactly-once peer: at the same rate, and each at half of its own saturation."""
    ours = [row for row in rows if row.name == names.PENSTOCK and row.delivery == names.EXACTLY_ONCE and row.rate]
    peers = [row for row in rows if row.name in names.BEST_PEERS and row.rate and row.p99_ms is not None]
    made = []
    for rate in sorted({row.rate for row in peers if row.rate}):
        best = min((row for row in peers if row.rate == rate), key=lambda row: row.p99_ms or 0.0)
        mine = next((row for row in ours if row.rate == rate), None)
        words, share = f"p99 at {rate:,.0f}/s over {best.name}", best.more.get("share_of_own_saturation")
        if share is not None and rate != low_rate:
            words += f" (its own saturation x {share:.2f})"
        target = 1.0 if rate == low_rate else 1 / 3
        made.append(_over(words, mine, best, "p99_ms", relation="<=", target=target))
    words = "p99 over the best exactly-once peer's, each at half of its own saturation"
    made.append(_over(words, _at_half(ours), _at_half(peers), "p99_ms", relation="<=", target=1 / 3))
    return made


def _at_half(rows: Sequence[Row]) -> Row | None:
    """The row nearest to half of its saturation, if it is near."""

    def off(row: Row) -> float:
        share = row.more.get("share_of_own_saturation")
        return abs(share - 0.5) if share is not None else 1.0

    nearest = min(rows, key=off, default=None)
    return nearest if nearest is not None and off(nearest) < NEAR else None


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"  # noqa: PLR2004 - three digits are what was measured
