"""A decision in words: from the fields that stand in Redis to sentences, and the same as an object for programs. Pure.

Every entry may be of another version of the product: what is missing is left out, and what is not known is passed on.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: `Decision.bound` -> what it means.
BOUNDS = {
    "plan": "what the plan asks for is done; nothing else limited it",
    "hysteresis": "a smaller fleet would do, but has not for long enough",
    "rate": "more is wanted than one step allows",
    "pace": "the policy decides less often than the autoscaler looks; what it said last holds",
    "panic": "a burst is under way; nothing shrinks until it is past",
    "min": "the worker type's least count (min_workers)",
    "max": "the worker type's largest count (max_workers)",
    "partitions": "the partitions of the requests topic: more workers would be idle",
    "control": "a person's min or max in Redis (`control`)",
    "paused": "a person has paused scaling in Redis (`control`)",
    "no-data": "nothing is known to decide on, so the fleet stays",
    "unhelpful": "a larger fleet was tried and answered no more requests a second",
    "starting": "workers that were asked for are still starting",
}
#: Fields that are told in the sentences of their own.
_SEEN = "seen_"
_FORECAST = "forecast_"


def explanation(fields: Mapping[str, str]) -> dict[str, Any]:
    """An entry of the `decisions` stream as an object: numbers as numbers, what is not known left out.

    Args:
        fields: As read from Redis.

    Raises:
        ValueError: it is no decision; the message says what is missing.
    """
    whole = _loaded(fields.get("json"))
    try:
        told: dict[str, Any] = {
            "pipeline": whole.get("pipeline"),
            "at_s": float(fields["at_s"]),
            "action": fields["action"],
            "fleet": _loaded(fields["fleet"]),
            "bound": fields["bound"],
            "bound_means": BOUNDS.get(fields["bound"]),
            "reason": fields["reason"],
            "advisory": fields.get("advisory") == "1",
            "price_per_hour": _number(fields.get("price_per_hour")),
        }
    except (KeyError, ValueError) as error:
        raise ValueError(f"an entry of the decisions stream is no decision: {error} is missing or no number") from error
    told["seen"] = _prefixed(fields, _SEEN)
    told["forecast"] = {**_known(whole.get("forecast")), **_prefixed(fields, _FORECAST)}
    told["plan"] = _known(whole.get("plan"))
    told["stuck"] = whole.get("stuck") or None
    told["head_room"] = _known(whole.get("head_room"))
    reserve = _number(fields.get("reserve"))
    if reserve:
        told["reserve"] = {"workers": reserve, "price_per_hour": _number(fields.get("reserve_price_per_hour"))}
    other = _loaded(fields.get("runner_up"))
    if other:
        price, own = _number(fields.get("runner_up_price_per_hour")), told["price_per_hour"]
        dearer = None if price is None or own is None else round(price - own, 6)
        told["runner_up"] = {"fleet": other, "price_per_hour": price, "dearer_per_hour": dearer}
    within_s, share = _number(fields.get("objective_within_s")), _number(fields.get("objective_share"))
    if within_s is not None and share is not None:
        told["objective"] = {"within_s": within_s, "share": share}
    told["beside"] = _beside(fields)
    for name in ("owner", "epoch", "policy", "decided_after_s"):
        if name in fields:
            told[name] = fields[name] if name in {"owner", "policy"} else _number(fields[name])
    return {name: value for name, value in told.items() if value not in (None, {})}


def words(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The explanation as lines: (what it is about, a sentence)."""
    bound = f"{told['bound']}: {told['bound_means']}" if "bound_means" in told else told["bound"]
    lines = [
        ("Decided", _decided(told)),
        ("Because", told["reason"]),
        ("Bound", bound),
        ("Seen", _seen(told.get("seen", {}))),
        ("Stuck", _stuck(told.get("stuck", ()))),
        ("Forecast", _forecast(told.get("forecast", {}))),
        ("Plan", _plan(told.get("plan", {}))),
        ("Runner-up", _runner_up(told.get("runner_up"))),
        ("Reserve", _reserve(told.get("reserve", {}))),
        ("Head room", _head_room(told.get("head_room", {}))),
        ("Objective", _objective(told.get("objective"))),
        *_beside_words(told),
        ("By", _by(told)),
    ]
    return [(name, sentence) for name, sentence in lines if sentence]


def moment(at_s: float) -> str:
    """A Unix time as people read it, in UTC."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")


def fleet_words(fleet: Mapping[str, Any]) -> str:
    """`2 cpu, 1 gpu`."""
    return ", ".join(f"{count} {kind}" for kind, count in fleet.items()) or "none"


def _decided(told: Mapping[str, Any]) -> str:
    price = f" at {told['price_per_hour']:g} an hour" if "price_per_hour" in told else ""
    said = " (said only: advisory)" if told.get("advisory") else ""
    return f"{told['action']}: {fleet_words(told['fleet'])}{price}, at {moment(told['at_s'])}{said}"


def _seen(seen: Mapping[str, Any]) -> str:
    parts = [
        _if(seen, "rate_1s_per_s", "{:.1f}/s in the last second"),
        _if(seen, "rate_10s_per_s", "{:.1f}/s over 10 s"),
        _if(seen, "backlog", "{:.0f} records without a result"),
        _if(seen, "p99_s", "p99 {:.3f} s"),
        f"running {fleet_words(seen['running'])}" if isinstance(seen.get("running"), dict) else None,
    ]
    return _joined(parts)


def _stuck(partitions: Any) -> str:
    """Which partitions make no progress, for how long, who owns them."""
    parts = []
    for one in partitions if isinstance(partitions, list) else ():
        if not isinstance(one, dict) or "partition" not in one:
            continue
        still = "catches up" if one.get("recovering") else _if(one, "still_s", "no progress for {:.0f} s")
        waiting = _if(one, "backlog", "{:.0f} records wait")
        owner = f"owned by {one['owner']}" if one.get("owner") else "no worker owns it"
        parts.append(f"partition {one['partition']}: {_joined([still, waiting, owner])}")
    return "; ".join(parts) + ("; none of it is sized for" if parts else "")


def _forecast(forecast: Mapping[str, Any]) -> str:
    parts = [
        _if(forecast, "mean_per_s", "most likely {:.1f}/s"),
        _if(forecast, "lower_per_s", "at least {:.1f}/s"),
        _if(forecast, "upper_per_s", "sized for up to {:.1f}/s"),
        _if(forecast, "quantile", "quantile {:.3g}"),
        _if(forecast, "horizon_s", "within {:.1f} s"),
        f"by {forecast['method']}" if "method" in forecast else None,
        _if(forecast, "history_s", "from {:.0f} s of history"),
    ]
    return _joined(parts)


def _plan(plan: Mapping[str, Any]) -> str:
    parts = [
        _if(plan, "workers", "{:.0f} workers"),
        _if(plan, "rate_per_s", "for {:.1f}/s"),
        _if(plan, "capacity_per_s", "each {:.1f}/s at full batches"),
        _if(plan, "busiest_utilisation", "the busiest at {:.0%} of it"),
        _if(plan, "pooled_workers", "one pooled queue (Erlang C) would need {:.0f}"),
    ]
    return _joined(parts)


def _runner_up(other: Mapping[str, Any] | None) -> str:
    if not other:
        return "none: there was no choice"
    price, dearer = other.get("price_per_hour"), other.get("dearer_per_hour")
    if price is None or dearer is None:
        return fleet_words(other["fleet"])
    compared = "the same price" if dearer == 0 else f"{abs(dearer):g} {'more' if dearer > 0 else 'less'}"
    return f"{fleet_words(other['fleet'])} at {price:g} an hour, {compared}"


def _reserve(reserve: Mapping[str, Any]) -> str:
    parts = [
        _if(reserve, "workers", "{:.0f} kept beyond the need"),
        _if(reserve, "price_per_hour", "{:g} an hour"),
    ]
    return _joined(parts)


def _head_room(room: Mapping[str, Any]) -> str:
    """What was late, what of it nobody could have had in time, and the price of having it in time all the same."""
    cure = _if(room, "workers", "{:.0f} more workers at all times would have kept the objective")
    if room.get("workers") == 0:
        cure = "the objective would have been kept without more of it"
    elif room and cure is None:
        cure = "not even all workers that there may be would have kept the objective"
    parts = [
        _if(room, "late_share", "{:.2%} late by measure"),
        _if(room, "unavoidable_share", "{:.2%} came too soon for any course"),
        _if(room, "boot_s", "a boot takes {:.3g} s"),
        cure,
        _if(room, "price_per_hour", "{:g} an hour") if room.get("workers") else None,
        _if(room, "boot_enough_s", "or a boot of {:.3g} s would have") if room.get("workers") != 0 else None,
        _if(room, "experience_s", "by the experience of {:.0f} s"),
    ]
    return _joined(parts)


def _objective(objective: Mapping[str, Any] | None) -> str:
    return f"{objective['share']:.4g} of the requests within {objective['within_s']:g} s" if objective else ""


def _beside(fields: Mapping[str, str]) -> dict[str, Any]:
    """How a shadow stands beside the policy in charge; empty for a decision of that policy itself."""
    found = {
        "live_fleet": _loaded(fields.get("live_fleet")),
        "live_reason": fields.get("live_reason"),
        "live_price_per_hour": _number(fields.get("live_price_per_hour")),
        **{
            name: _number(fields.get(f"shadow_{name}"))
            for name in ("price_per_hour", "since_s", "decisions", "differed", "cost", "live_cost")
        },
    }
    return {name: value for name, value in found.items() if value not in (None, {})} if "live_fleet" in fields else {}


def _beside_words(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    beside = told.get("beside")
    if not beside:
        return []
    two = [f"in charge: {fleet_words(beside.get('live_fleet', {}))}", f"shadow: {fleet_words(told['fleet'])}"]
    prices = [beside.get("live_price_per_hour"), beside.get("price_per_hour")]
    now = "; ".join(
        words if price is None else f"{words} at {price:g} an hour" for words, price in zip(two, prices, strict=True)
    )
    count, differed = beside.get("decisions", 0), beside.get("differed", 0)
    since = f" since {moment(beside['since_s'])}" if "since_s" in beside else ""
    far = (
        f"{beside.get('live_cost', 0.0):.4g} in charge, {beside.get('cost', 0.0):.4g} shadow; another fleet in "
        f"{differed:.0f} of {count:.0f} decisions{since}"
    )
    return [
        ("Beside", now),
        ("In charge because", beside.get("live_reason", "")),
        ("Cost so far", far),
        ("Mind", "the shadow is shown the fleet and backlog that are there: what it would have come to is not known"),
    ]


def _by(told: Mapping[str, Any]) -> str:
    parts = [
        f"policy {told['policy']}" if "policy" in told else None,
        told.get("owner"),
        _if(told, "epoch", "epoch {:.0f}"),
        f"{told['decided_after_s'] * 1000:.0f} ms after the sample" if "decided_after_s" in told else None,
    ]
    return _joined(parts)


def _if(values: Mapping[str, Any], name: str, form: str) -> str | None:
    value = values.get(name)
    return form.format(value) if isinstance(value, int | float) else None


def _joined(parts: Iterable[str | None]) -> str:
    return ", ".join(part for part in parts if part)


def _prefixed(fields: Mapping[str, str], prefix: str) -> dict[str, Any]:
    found = {name.removeprefix(prefix): text for name, text in fields.items() if name.startswith(prefix)}
    return {name: _value(text) for name, text in found.items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _known(values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None} if isinstance(values, dict) else {}


def _loaded(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(text: str | None) -> float | None:
    value = _value(text) if text is not None else None
    return value if isinstance(value, int | float) else None
