"""What stands in Redis, field by field: pure translations of decisions into flat strings, and of `control` back.

A field that is not known is left out: a missing field is not a zero.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.model import Control, WorkerState

if TYPE_CHECKING:
    from autoscaler.model import ArrivalSample, Decision, Observation, WorkerReport

#: What a person may write for yes and no.
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
#: More digits than any fleet needs; a longer one is a slip of the hand.
_MOST_WORKERS = 100_000
#: Decimals kept of seconds and rates: microseconds.
_DECIMALS = 6

Fields = dict[str, str]


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One entry of the `rates` stream."""

    at_s: float
    #: Records a second over the last second; `None` = not known then.
    per_s: float | None
    #: Next offset to be written, by partition: what rates are made from.
    end_offsets: Mapping[int, int]


def metrics(observation: Observation, decision: Decision, more: Mapping[str, object]) -> Fields:
    """The `metrics` hash: what a dashboard or another scaler reads now."""
    rates, forecast, plan = observation.rates, decision.forecast, decision.plan
    ready = sum(report.state is WorkerState.READY for report in observation.reports.values())
    fleet = observation.fleet
    return flat(
        {
            "at_s": observation.at_s,
            "rate_1s_per_s": rates and rates.last_1s,
            "rate_10s_per_s": rates and rates.last_10s,
            "rate_60s_per_s": rates and rates.last_60s,
            "trend_per_s2": rates and rates.trend_per_s2,
            "burstiness": rates and rates.burstiness,
            "busiest_share": rates and rates.busiest_share,
            "backlog": _total(observation.backlog),
            "p99_s": observation.p99_s,
            "stuck": decision.stuck or None,
            "partitions": observation.partitions or None,
            "forecast_mean_per_s": forecast and forecast.mean_per_s,
            "forecast_lower_per_s": forecast and forecast.lower_per_s,
            "forecast_upper_per_s": forecast and forecast.upper_per_s,
            "forecast_horizon_s": forecast and forecast.horizon_s,
            "forecast_method": forecast and forecast.method,
            "plan_workers": plan and plan.workers,
            "pooled_workers": plan and plan.pooled_workers,
            "busiest_utilisation": plan and plan.busiest_utilisation,
            "workers_declared": _total(decision.fleet),
            "workers_running": _total(fleet.running) if fleet else None,
            "workers_ready": ready,
            **{f"declared.{kind}": count for kind, count in decision.fleet.items()},
            **({f"running.{kind}": count for kind, count in fleet.running.items()} if fleet else {}),
            "action": decision.action,
            "bound": decision.bound,
            "reason": decision.reason,
            "price_per_hour": decision.price_per_hour,
            "advisory": decision.advisory,
            **_head_room(decision),
            **more,
        }
    )


def _head_room(decision: Decision) -> dict[str, object]:
    """The reserve and its price; what came too soon for a boot, and what would have had it in time."""
    room = decision.head_room
    return {
        "reserve": decision.reserve,
        "reserve_price_per_hour": decision.reserve_price_per_hour,
        "late_share": room and room.late_share,
        "unavoidable_share": room and room.unavoidable_share,
        "head_room_workers": room and room.workers,
        "head_room_price_per_hour": room and room.price_per_hour,
        "boot_enough_s": room and room.boot_enough_s,
    }


def rate_entry(sample: ArrivalSample, observation: Observation) -> Fields:
    """One entry of the `rates` stream."""
    rates = observation.rates
    return flat(
        {
            "at_s": sample.at_s,
            "per_s": rates and rates.last_1s,
            "backlog": _total(observation.backlog),
            "end_offsets": sample.end_offsets,
        }
    )


def rate_point(fields: Mapping[str, str]) -> RatePoint | None:
    """The entry that `rate_entry` wrote; `None` = it is none."""
    try:
        ends = json.loads(fields["end_offsets"])
        return RatePoint(
            at_s=float(fields["at_s"]),
            per_s=float(fields["per_s"]) if "per_s" in fields else None,
            end_offsets={int(partition): int(end) for partition, end in ends.items()},
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def decision_entry(observation: Observation, decision: Decision, more: Mapping[str, object]) -> Fields:
    """One entry of the `decisions` stream: flat fields for reading, and all of the decision in `json`."""
    rates, forecast, plan, fleet = observation.rates, decision.forecast, decision.plan, observation.fleet
    return flat(
        {
            "at_s": decision.at_s,
            "action": decision.action,
            "fleet": decision.fleet,
            "bound": decision.bound,
            "reason": decision.reason,
            "advisory": decision.advisory,
            "price_per_hour": decision.price_per_hour,
            **_head_room(decision),
            "runner_up": decision.runner_up,
            "runner_up_price_per_hour": decision.runner_up_price_per_hour,
            "seen_rate_1s_per_s": rates and rates.last_1s,
            "seen_rate_10s_per_s": rates and rates.last_10s,
            "seen_backlog": _total(observation.backlog),
            "seen_p99_s": observation.p99_s,
            "stuck": decision.stuck or None,
            "seen_running": fleet and fleet.running,
            "forecast_mean_per_s": forecast and forecast.mean_per_s,
            "forecast_upper_per_s": forecast and forecast.upper_per_s,
            "forecast_horizon_s": forecast and forecast.horizon_s,
            "forecast_method": forecast and forecast.method,
            "plan_workers": plan and plan.workers,
            "plan_rate_per_s": plan and plan.rate_per_s,
            "plan_capacity_per_s": plan and plan.capacity_per_s,
            "pooled_workers": plan and plan.pooled_workers,
            **more,
            "json": decision,
        }
    )


def shadow(decision: Decision, more: Mapping[str, object]) -> Fields:
    """The hash of a policy that is not obeyed: what it wants now, and how it stands beside the one in charge."""
    return flat(
        {
            "at_s": decision.at_s,
            "action": decision.action,
            "fleet": decision.fleet,
            "workers": _total(decision.fleet),
            "bound": decision.bound,
            "reason": decision.reason,
            **more,
        }
    )


def worker_entry(report: WorkerReport) -> str:
    """One field of the `workers` hash."""
    return _json(report)


def control(fields: Mapping[str, str]) -> tuple[Control, tuple[str, ...]]:
    """What a person asked for, and what of it cannot be obeyed, one sentence each.

    A value that is not understood is ignored and named; it never stops the autoscaler.
    """
    problems: list[str] = []
    paused = _flag(fields, "paused", problems)
    advisory = _flag(fields, "advisory", problems)
    least = _count(fields, "min", problems)
    most = _count(fields, "max", problems)
    if least is not None and most is not None and least > most:
        problems.append(f"min={least} is above max={most}: both ignored")
        least = most = None
    unknown = sorted(set(fields) - {"paused", "advisory", "min", "max"})
    problems.extend(f"{name[:40]!r} is not known: use paused, min, max or advisory" for name in unknown)
    return Control(paused=paused, min_workers=least, max_workers=most, advisory=advisory), tuple(problems)


def flat(values: Mapping[str, object]) -> Fields:
    """Strings for Redis: `None` left out, numbers short, objects as compact JSON, truth as 1 and 0."""
    return {name: _text(value) for name, value in values.items() if value is not None}


def _flag(fields: Mapping[str, str], name: str, problems: list[str]) -> bool | None:
    text = fields.get(name)
    if text is None:
        return None
    word = _WORDS.get(text.strip().lower())
    if word is None:
        problems.append(f"{name}={text[:40]!r} is ignored: write 1 or 0")
    return word


def _count(fields: Mapping[str, str], name: str, problems: list[str]) -> int | None:
    text = fields.get(name)
    if text is None:
        return None
    digits = text.strip()
    if digits.isascii() and digits.isdigit() and len(digits) < 10 and int(digits) <= _MOST_WORKERS:  # noqa: PLR2004
        return int(digits)
    problems.append(f"{name}={text[:40]!r} is ignored: write a whole number of workers from 0 to {_MOST_WORKERS}")
    return None


def _total(counts: Mapping[Any, int] | None) -> int | None:
    return None if counts is None else sum(counts.values())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float):
        return repr(round(value, _DECIMALS))
    if isinstance(value, str | int):
        return str(value)
    return _json(value)


def _json(value: object) -> str:
    return json.dumps(_plain(value), separators=(",", ":"))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return round(value, _DECIMALS) if isinstance(value, float) else value
