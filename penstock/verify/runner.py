"""The fault matrix run: load, trouble, drain, and what the ledger says."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.errors import PenstockError
from penstock.verify.errors import CannotVerify
from penstock.verify.faults import FAULTS, Facts, Fault
from penstock.verify.ledger import Sent, Verdict, settle
from penstock.verify.load import Sender, read_results, read_written, run_of
from streams.errors import KafkaFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from penstock.verify.arena import Arena
    from penstock.verify.stage import Stage

log = logging.getLogger(__name__)

#: Seconds before the trouble, at least and at most: the moment is drawn anew in each run.
LEAST_LEAD_S, MOST_LEAD_S = 1.0, 2.5
#: Seconds of load after the trouble is over.
TAIL_S = 0.5
#: Seconds for the last results after the load; what has none by then counts as lost.
DRAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Attributes:
        faults: by name, each of `FAULTS`.
        runs: of each fault.
        seconds: least length of the load of a run; it goes on until the trouble is over.
        rate: requests a second over all partitions.
        seed: of the moments and the victims.
    """

    faults: tuple[str, ...] = tuple(FAULTS)
    runs: int = 1
    seconds: float = 4.0
    rate: float = 240.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """One run, before its ledger is settled."""

    number: int
    sent: Sequence[Sent]
    seen_at_s: Mapping[str, float]
    until_s: float
    facts: Facts


@dataclass(slots=True)
class Outcome:
    """All runs of one fault.

    Attributes:
        fault: its name.
        verdicts: one a run.
        facts: what the fault measured, one mapping a run.
        seconds: length of it all.
        not_run: why it was not tried; `None` = it was.
        error: what ended it early; `None` = nothing.
        deaths: workers that ended although nobody asked them to.
    """

    fault: str
    verdicts: list[Verdict] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)
    seconds: float = 0.0
    not_run: str | None = None
    error: str | None = None
    deaths: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is to be complained about; what was not run is not."""
        return self.error is None and not self.deaths and all(verdict.clean for verdict in self.verdicts)


def run(
    plan: Plan,
    arena: Arena,
    *,
    advance: Callable[[str, int], None] = lambda _fault, _run: None,
    kinds: Mapping[str, type[Fault]] = FAULTS,
) -> Iterator[Outcome]:
    """Run the matrix; yields each fault's outcome when it is known.

    Args:
        plan: what is to be run.
        arena: where; entered by the caller.
        advance: told after each run: the fault, and how many of its runs are done.
        kinds: faults by name.

    Raises:
        PenstockError: the surroundings cannot be had.
        KafkaFailure: the user's cluster cannot be reached, or refuses topics.
    """
    for name in plan.faults:
        began_s = time.monotonic()
        reason = arena.refuses(kinds[name])
        outcome = Outcome(name, not_run=reason)
        if reason is None:
            try:
                _run_fault(arena, kinds[name](), plan, outcome, advance)
            except CannotVerify as error:
                # The next fault has workers of its own.
                outcome.error = outcome.error or f"before the first run: {error.cause}"
        outcome.seconds = time.monotonic() - began_s
        yield outcome


def _run_fault(arena: Arena, fault: Fault, plan: Plan, outcome: Outcome, advance: Callable[[str, int], None]) -> None:
    # A generator for each fault: the same seed gives the same trouble whatever else is run.
    generator = random.Random(f"{plan.seed} {fault.name}")  # noqa: S311 - no secret
    runs: list[Run] = []
    with arena.stage(fault) as stage:
        for number in range(1, plan.runs + 1):
            runs.append(_run_once(stage, _Order(fault, plan, number, generator), outcome))
            if outcome.error is not None:
                log.warning("verify.ended_early", extra={"fault": fault.name, "error": outcome.error})
                break
            advance(fault.name, number)
        _settle(stage, runs, outcome)


@dataclass(frozen=True, slots=True)
class _Order:
    """One run to be done."""

    fault: Fault
    plan: Plan
    number: int
    generator: random.Random


def _run_once(stage: Stage, order: _Order, outcome: Outcome) -> Run:
    """One run. Where it goes wrong `outcome.error` says so, and what was sent is settled all the same."""
    plan, number = order.plan, order.number
    sender = Sender(
        stage.kafka,
        stage.pipeline,
        session=stage.session,
        run=number,
        partitions=stage.partitions,
        rate=plan.rate,
    )
    sender.start()
    facts: Facts = {}
    try:
        time.sleep(order.generator.uniform(LEAST_LEAD_S, MOST_LEAD_S))
        facts = order.fault.strike(stage, order.generator)
        time.sleep(max(TAIL_S, sender.started_at_s + plan.seconds - time.monotonic()))
    except (PenstockError, KafkaFailure) as error:
        outcome.error = f"run {number}: {error}"
    sent = sender.stop()
    stage.watch.wait_for([request.request_id for request in sent if request.acknowledged], DRAIN_S)
    until_s = time.monotonic()
    try:
        if stage.cluster is not None:
            stage.cluster.mend()
        outcome.deaths += stage.fleet.mend()
        if outcome.error is None:
            stage.until(stage.settled, "the workers own all partitions after the run")
    except (PenstockError, KafkaFailure) as error:
        # Also a broker of ours that does not come back: the runs before it are settled all the same.
        outcome.error = outcome.error or f"run {number}: {error}"
    return Run(number, sent, stage.watch.seen([request.request_id for request in sent]), until_s, facts)


def _settle(stage: Stage, runs: Sequence[Run], outcome: Outcome) -> None:
    """Settle the runs' ledgers from the topics as they stand at the end, so that a late double is seen too."""
    try:
        written, results = read_written(stage.kafka, stage.pipeline), read_results(stage.kafka, stage.pipeline)
    except (KafkaFailure, TimeoutError) as error:
        outcome.error = outcome.error or f"the topics cannot be read at the end: {error}"
        return
    numbers = {run.number for run in runs}
    first = runs[0].number
    for each in runs:
        outcome.verdicts.append(
            settle(
                each.sent,
                written=[record for record in written if run_of(record.request_id) == each.number],
                # A result of no run is put down to the first one: it must not go unseen.
                results=[
                    result
                    for result in results
                    if (number := run_of(result.request_id)) == each.number
                    or (each.number == first and number not in numbers)
                ],
                seen_at_s=each.seen_at_s,
                until_s=each.until_s,
            )
        )
        outcome.facts.append(each.facts)
