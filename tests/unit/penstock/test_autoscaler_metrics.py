"""The autoscaler's metrics and probes: the last decision while it holds, and nothing that is not known."""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from autoscaler.model import Action, Decision, FleetStatus, Forecast, Observation, Rates, StuckPartition
from inference_workers.metrics import page_of, registry_of
from penstock.autoscaler_metrics import SHOWN_S, DecisionCollector, served
from penstock.autoscaler_settings import AutoscalerSettings
from penstock.shadows import Standing

PAGE = Path(__file__).resolve().parents[3] / "docs/how-to/monitor.md"


def decision(at_s: float, action: Action = Action.HOLD, forecast: Forecast | None = None) -> Decision:
    """A decision for three workers."""
    return Decision(
        "digits", at_s, action, {"cpu": 3}, "because", "plan", None, forecast, None, None, 0.15, advisory=False
    )


def observation(*, known: bool) -> Observation:
    """What it was made from, or the little that is known at the start."""
    if not known:
        return Observation("digits", 100.0, 12, None, None, None, None)
    rates = Rates(100.0, 9.0, 8.0, 7.0, {0: 8.0}, None, None, None)
    return Observation("digits", 100.0, 12, rates, {0: 4, 1: 6}, FleetStatus({"cpu": 3}, {"cpu": 2}), None, p99_s=0.25)


def stuck(count: int) -> Observation:
    """With so many stuck partitions, the longest first, and one that catches up."""
    still = tuple(StuckPartition(number, 100.0 - number, 10) for number in range(count))
    recovering = StuckPartition(99, 0.0, 5, recovering=True)
    return dataclasses.replace(observation(known=True), stuck=(*still, recovering))


KEDA = Standing(
    "keda",
    decision(100.0),
    decision(100.0),
    price_per_hour=0.1,
    decisions=9,
    differed=4,
    cost=1.5,
    live_cost=2.5,
    since_s=90.0,
)
FORECAST = Forecast(100.0, 10.0, 11.0, 9.5, 14.0, 0.9, "autoreg", 600.0)


def scraped(collector: DecisionCollector) -> str:
    """A scrape."""
    return page_of(registry_of(collector), "").body.decode()


def samples(collector: DecisionCollector) -> dict[str, float]:
    """Samples of ours by name and the label that is not the pipeline."""
    found = {}
    for family in text_string_to_metric_families(scraped(collector)):
        for sample in family.samples:
            if sample.name.startswith("penstock_"):
                rest = [value for name, value in sample.labels.items() if name != "pipeline"]
                found[" ".join([sample.name, *rest])] = sample.value
    return found


def test_a_decision_is_shown_as_it_was_made() -> None:
    """Numbers under their names; decisions are counted by what they do."""
    collector = DecisionCollector("digits", now_s=lambda: 101.0)
    collector.decided(observation(known=True), decision(99.0, Action.SCALE_UP))
    collector.decided(observation(known=True), decision(100.0, forecast=FORECAST))
    found = samples(collector)
    expected = {
        "penstock_autoscaler_decisions_total scale-up": 1,
        "penstock_autoscaler_decisions_total hold": 1,
        "penstock_autoscaler_deciding": 1,
        "penstock_workers_declared cpu": 3,
        "penstock_workers_running cpu": 2,
        "penstock_backlog_records": 10,
        "penstock_arrivals_per_second": 8,
        "penstock_forecast_arrivals_per_second lower": 9.5,
        "penstock_forecast_arrivals_per_second mean": 11,
        "penstock_forecast_arrivals_per_second upper": 14,
        "penstock_latency_p99_seconds": 0.25,
        "penstock_fleet_price_per_hour": 0.15,
        "penstock_autoscaler_decision_timestamp_seconds": 100,
    }
    assert {name: found[name] for name in expected} == expected


def test_shadows_are_shown_beside_the_policy_in_charge() -> None:
    """One series a policy and figure; one that was given up is 1; without shadows there is nothing."""
    made = decision(100.0)
    standings = (KEDA, Standing("knative", failed="ValueError: no"))
    collector = DecisionCollector("digits", now_s=lambda: 100.0, shadows=lambda: standings)
    collector.decided(observation(known=True), made)
    found = samples(collector)
    expected = {
        "penstock_shadow_workers keda cpu": 3,
        "penstock_shadow_price_per_hour keda": 0.1,
        "penstock_shadow_failed keda": 0,
        "penstock_shadow_failed knative": 1,
        "penstock_shadow_decisions_total keda": 9,
        "penstock_shadow_differing_decisions_total keda": 4,
        "penstock_shadow_cost_total keda": 1.5,
        "penstock_shadow_live_cost_total keda": 2.5,
    }
    assert {name: value for name, value in found.items() if "_shadow_" in name} == expected
    none = DecisionCollector("digits", now_s=lambda: 100.0)
    none.decided(observation(known=True), made)
    assert not [name for name in samples(none) if "_shadow_" in name]


def test_what_is_not_known_is_absent() -> None:
    """No data must never look like no load; a decision of a while ago is no news."""
    now = [100.0]
    collector = DecisionCollector("digits", now_s=lambda: now[0])
    assert "penstock_workers_declared cpu" not in samples(collector)
    collector.decided(observation(known=False), decision(100.0, Action.NO_DATA))
    found = samples(collector)
    assert found["penstock_workers_declared cpu"] == 3
    for name in ("penstock_backlog_records", "penstock_arrivals_per_second", "penstock_latency_p99_seconds"):
        assert name not in found
    now[0] += SHOWN_S + 1
    found = samples(collector)
    assert (found["penstock_autoscaler_deciding"], "penstock_workers_declared cpu" in found) == (0, False)


def test_stuck_partitions_are_counted_and_the_longest_named() -> None:
    """None is 0, since the backlog is known; a label for each of a thousand would be too many."""
    collector = DecisionCollector("digits", now_s=lambda: 100.0)
    collector.decided(observation(known=True), decision(100.0))
    assert samples(collector)["penstock_stuck_partitions"] == 0
    collector.decided(stuck(30), decision(100.0))
    found = samples(collector)
    assert found["penstock_stuck_partitions"] == 30
    named = {name: value for name, value in found.items() if name.startswith("penstock_stuck_partition_seconds")}
    assert named == {f"penstock_stuck_partition_seconds {number}": 100.0 - number for number in range(10)}


def test_every_metric_is_documented() -> None:
    """A new metric without its line in the documentation fails, and so does a line without its metric."""
    collector = DecisionCollector("digits", now_s=lambda: 100.0, shadows=lambda: (KEDA,))
    collector.decided(stuck(1), decision(100.0, forecast=FORECAST))
    exposed = {
        family.name + ("_total" if family.type == "counter" else ""): family.documentation
        for family in text_string_to_metric_families(scraped(collector))
        if family.name.startswith("penstock_")
    }
    section = PAGE.read_text(encoding="utf-8").split("## Metrics of the autoscaler\n")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `(penstock_[a-z0-9_]+)` \| [a-z]+ \| (.+?) \|$", section, re.MULTILINE))
    assert told == exposed


def answer(address: str, path: str) -> tuple[int, Any]:
    """Status and body of a probe."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as found:
            return found.status, json.loads(found.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_probes_follow_the_loop() -> None:
    """Not ready before the first tick, not live when the loop has stood still."""
    ago: list[float | None] = [None]
    with served(AutoscalerSettings(metrics_port=0), DecisionCollector("digits"), lambda: ago[0]) as endpoint:
        assert endpoint is not None
        assert answer(endpoint.address, "/readyz") == (503, {"ready": False, "deciding": False})
        assert answer(endpoint.address, "/livez")[0] == 200
        ago[0] = 1.0
        assert [answer(endpoint.address, path)[0] for path in ("/livez", "/readyz")] == [200, 200]
        ago[0] = SHOWN_S + 1
        assert answer(endpoint.address, "/livez")[0] == 503


def test_the_port_is_off_unless_asked_for_and_a_taken_one_is_no_end() -> None:
    """The fleet must be looked after whatever becomes of a port."""
    collector = DecisionCollector("digits")
    with served(AutoscalerSettings(), collector, lambda: 0.0) as off:
        assert off is None
    with (
        served(AutoscalerSettings(metrics_port=0), collector, lambda: 0.0) as first,
        served(AutoscalerSettings(metrics_port=first.port if first else -1), collector, lambda: 0.0) as second,
    ):
        assert second is None
    with pytest.raises(ValueError, match=r"autoscaler\.metrics_port=-1"):
        AutoscalerSettings(metrics_port=-1)
