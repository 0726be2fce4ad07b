"""A tape decided on again: the same by the same rules, and otherwise only where something is otherwise."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from autoscaler.model import ArrivalSample, Claim
from penstock import background_fits
from penstock.replay.course import Compared, Course, Rules, Taped
from penstock.replay.outcome import Outcome, words

if TYPE_CHECKING:
    from collections.abc import Iterable


def replayed(tape: Iterable[Taped], rules: Rules, whole_from_s: float = 0.0) -> tuple[Course, list[Compared]]:
    """All of a tape."""
    course = Course("p", rules, whole_from_s)
    return course, [one for entry in tape for one in course.feed(entry)]


def told(tape: Iterable[Taped], rules: Rules, whole_from_s: float = 0.0) -> dict[str, Any]:
    """What it comes to."""
    course, found = replayed(tape, rules, whole_from_s)
    outcome = Outcome("p", rules)
    outcome.add(found)
    return outcome.as_json(course)


def test_the_same_rules_give_the_same_decisions_word_for_word(lived: Any, rules: Rules) -> None:
    """Over skipped samples, reports between a sample and its decision, and a change of the decider."""
    course, found = replayed(lived.tape, rules)
    # The last decision had no sample after it.
    assert [(one.at_s, dict(one.replayed.fleet), one.replayed.reason) for one in found] == lived.decisions[:-1]
    assert not any(one.differs for one in found)
    assert course.lost == 0
    assert len({one.term.epoch for one in found}) == 2
    assert all(one.term.whole and one.term.same_rules for one in found)
    assert len({tuple(one.live.fleet.items()) for one in found}) > 2
    said = told(lived.tape, rules)
    assert (said["same"], said["notes"], said["differences"]) == (True, [], [])
    assert said["cost"]["live"] == said["cost"]["replayed"] > 0
    assert "the same decisions, word for word" in words(said)[0]


def test_fits_that_are_late_change_nothing(lived: Any, rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fit begins only when its result is waited for: the slowest that a thread can be."""
    gate, late = threading.Event(), []
    fit, result = background_fits.fit, background_fits.BackgroundFitter.result

    def slow(request: Any) -> Any:
        gate.wait()
        return fit(request)

    def asked(self: Any, request: Any) -> Any:
        late.append(not gate.is_set())
        gate.set()
        try:
            return result(self, request)
        finally:
            gate.clear()

    monkeypatch.setattr(background_fits, "fit", slow)
    monkeypatch.setattr(background_fits.BackgroundFitter, "result", asked)
    try:
        _, found = replayed(lived.tape, rules)
    finally:
        gate.set()
    assert len(late) > 5
    assert not any(one.differs for one in found)


def test_another_record_on_the_tape_shows(lived: Any, rules: Rules) -> None:
    """A load that was half of it: fewer workers come out, and each stretch of it is listed with both reasons."""

    def halved(entry: Taped) -> Taped:
        record = entry.record
        if not isinstance(record, ArrivalSample):
            return entry
        ends = {p: end // 2 for p, end in record.end_offsets.items()}
        return dataclasses.replace(entry, record=dataclasses.replace(record, end_offsets=ends, committed=dict(ends)))

    said = told(map(halved, lived.tape[:600]), rules)
    assert not said["same"]
    assert said["fleets_differing"] > 20
    assert said["cost"]["replayed"] < said["cost"]["live"]
    first = said["differences"][0]
    assert first["live_reason"] != first["replayed_reason"]
    assert "came out otherwise" in words(said)[0]


def test_other_settings_are_named_as_a_cause(lived: Any, rules: Rules) -> None:
    """The claim carries a fingerprint of the settings that were decided by."""
    wider = dataclasses.replace(rules, policy=dataclasses.replace(rules.policy, target_utilisation=0.5))
    said = told(lived.tape[:300], wider)
    assert not said["same"]
    assert any("the settings are not those" in note for note in said["notes"])


def test_another_policy_is_compared_by_its_fleets(lived: Any, rules: Rules) -> None:
    """Reasons differ by nature and do not count; what the comparison assumes is said."""
    said = told(lived.tape[:500], dataclasses.replace(rules, rule="static:workers=8"))
    assert not said["same_policy"]
    assert 0 < said["differing"] == said["fleets_differing"] <= said["decisions"]
    assert said["cost"]["replayed"] > said["cost"]["live"]
    assert said["worker_s"]["replayed"]["cpu"] == pytest.approx(8 * (said["until_s"] - said["from_s"]))
    assert any("`penstock simulate` tells" in note for note in said["notes"])
    assert "another fleet than penstock" in words(said)[0]


def test_a_tape_that_begins_later_says_so(lived: Any, rules: Rules) -> None:
    """Without the claim, and with a claim whose past is cut off."""
    claims = [at for at, entry in enumerate(lived.tape) if isinstance(entry.record, Claim)]
    late = told(lived.tape[20:], rules)
    assert any("after the claim" in note for note in late["notes"])
    assert late["decisions"] > 200
    second = lived.tape[claims[1] - 5 :]
    cut = told(second, rules, second[0].timestamp_ms / 1000)
    assert any("less than policy.history_s before a claim" in note for note in cut["notes"])


def test_a_decision_that_is_told_twice_counts_once(lived: Any, rules: Rules) -> None:
    """A sample whose writing seemed to fail is on the tape, and the next tells the same decisions again."""
    tape, carried = [], ()
    for entry in lived.tape[:300]:
        record = entry.record
        if isinstance(record, ArrivalSample):
            carried, record = record.decided, dataclasses.replace(record, decided=carried + record.decided)
        tape.append(dataclasses.replace(entry, record=record))
    _, once = replayed(lived.tape[:300], rules)
    _, twice = replayed(tape, rules)
    assert [one.live for one in twice] == [one.live for one in once]
    assert not any(one.differs for one in twice)


def test_only_the_time_that_was_asked_for_counts(lived: Any, rules: Rules) -> None:
    """And costs run between its first and its last decision."""
    course, found = replayed(lived.tape[:600], rules)
    since_s, until_s = found[50].at_s, found[99].at_s
    outcome = Outcome("p", rules, since_s=since_s, until_s=until_s)
    outcome.add(found)
    said = outcome.as_json(course)
    assert (said["decisions"], said["from_s"], said["until_s"]) == (50, since_s, until_s)
    spent = [a.live.fleet["cpu"] * (b.at_s - a.at_s) for a, b in itertools.pairwise(found[50:100])]
    assert said["worker_s"]["live"]["cpu"] == pytest.approx(sum(spent))
    assert said["cost"]["live"] == pytest.approx(sum(spent) / 3600 * 0.5, abs=1e-6)


def test_only_the_claim_that_was_asked_for_counts(lived: Any, rules: Rules) -> None:
    """What was decided under older claims is on the tape for what came of it."""
    course, found = replayed(lived.tape, rules)
    youngest = found[-1].term.epoch
    outcome = Outcome("p", rules, epoch=youngest)
    outcome.add(found)
    said = outcome.as_json(course)
    assert [term["epoch"] for term in said["terms"]] == [youngest]
    assert 40 < said["decisions"] < 60


def test_a_type_without_a_price_leaves_the_cost_open(lived: Any, rules: Rules) -> None:
    """Not known is not nothing."""
    course, found = replayed(lived.tape[:300], rules)
    outcome = Outcome("p", dataclasses.replace(rules, worker_types=()))
    outcome.add(found)
    assert outcome.as_json(course)["cost"] == {"live": None, "replayed": None}


def test_another_pipelines_records_are_passed_over(lived: Any, rules: Rules) -> None:
    """They share the partition."""
    course = Course("q", rules, 0.0)
    assert [one for entry in lived.tape[:50] for one in course.feed(entry)] == []
