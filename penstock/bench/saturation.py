"""Throughput: a topic full of requests, and how fast results come out of a candidate that is warm."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.bench.cpu import Moment, machine_cpu_s, tree_cpu_s
from penstock.bench.errors import CandidateFailed
from penstock.bench.kafka_side import Results, TransactionLog
from penstock.bench.workload import audit

if TYPE_CHECKING:
    from penstock.bench.children import Child
    from penstock.bench.workload import Audit, Workload

#: Seconds for the first result: imports, the model, joining the group, on a busy machine.
FIRST_RESULT_S = 150.0
#: Seconds without a new result after which a candidate counts as stuck.
QUIET_S = 45.0
#: Seconds for which results are gathered before the time is looked at: also the window's resolution.
GATHER_S = 0.02
#: Each how many answers are compared; ids are counted in all of them.
COMPARED = 7


@dataclass(frozen=True, slots=True)
class Window:
    """How much of a run is measured."""

    #: Results that are not counted at first.
    warm: int
    #: Results that the window has at least, and seconds that it lasts at least.
    records: int
    seconds: float
    #: Seconds after which the window ends all the same.
    most_seconds: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one run showed."""

    records: int
    seconds: float
    worker_cpu_s: float
    broker_cpu_s: float
    other_cores: float
    records_per_transaction: float | None
    audit: Audit
    #: The requests were used up before the window had its seconds: run again with more of them.
    too_short: bool

    @property
    def records_per_s(self) -> float:
        """Results a second."""
        return self.records / self.seconds if self.seconds > 0 else 0.0

    @property
    def cpu_us_per_record(self) -> float:
        """Microseconds of processor time of the candidate's processes a result."""
        return self.worker_cpu_s / self.records * 1e6 if self.records else 0.0


def saturate(
    child: Child,
    bootstrap: str,
    topic: str,
    workload: Workload,
    *,
    sent: int,
    window: Window,
    whole: bool,
    broker: int,
    compared: int = COMPARED,
) -> Throughput:
    """Follow the results of a preloaded topic.

    The window begins with the first look at the results after `window.warm` of them and ends with the first look after
    which it has its records and its seconds, while requests are still waiting: at both ends the candidate is full of
    work, and what it holds at the one is made up for at the other.

    Args:
        child: the candidate, started.
        bootstrap: where Kafka is.
        topic: of the results.
        workload: what was preloaded.
        sent: how many requests.
        window: what of it to measure.
        whole: go on after the window until every request has its answer, and count what is missing.
        broker: process id of the broker.
        compared: each how many answers are compared with the model's own; 0 = none.

    Raises:
        CandidateFailed: it ended, or stands still.
    """
    span = _Span(window, sent, child.process.pid, broker)
    transactions = TransactionLog(bootstrap)
    with Results(bootstrap, topic) as results:
        _follow(results, span, child, sent=sent, whole=whole)
        if whole:
            # One look more, for what comes twice.
            results.gather(0.5)
        found = audit(workload, results.read(), sent, every=compared)
        count, committed = results.count, transactions.committed()
    if span.start is None or span.end is None:
        raise CandidateFailed(f"{child.name}: too few results to measure", "run with more --records")
    start, end = span.start, span.end
    seconds = end.at_s - start.at_s
    return Throughput(
        records=span.records,
        seconds=seconds,
        worker_cpu_s=end.worker_s - start.worker_s,
        broker_cpu_s=end.broker_s - start.broker_s,
        other_cores=start.other_cores(end),
        records_per_transaction=count / committed if committed else None,
        audit=found,
        too_short=span.used_up and seconds < window.seconds,
    )


class _Span:
    """The window while it is measured."""

    def __init__(self, window: Window, sent: int, pid: int, broker: int) -> None:
        self._window, self._sent, self._pid, self._broker = window, sent, pid, broker
        self.start: Moment | None = None
        self.end: Moment | None = None
        self._from = 0
        self.records = 0
        #: It ended because there were no more requests.
        self.used_up = False

    def look(self, count: int) -> None:
        """So many results have come by now."""
        if self.start is None:
            if count >= self._window.warm:
                self.start, self._from = self._moment(), count
                if count >= self._sent:
                    # All of it at one look, in one transaction: nothing can be measured of so few.
                    self.used_up, self.end = True, self.start
            return
        if self.end is not None:
            return
        took_s = time.monotonic() - self.start.at_s
        self.records, self.used_up = count - self._from, count >= self._sent
        enough = self.records >= self._window.records and took_s >= self._window.seconds
        if enough or took_s >= self._window.most_seconds or self.used_up:
            self.end = self._moment()

    def _moment(self) -> Moment:
        own = os.times()
        at_s = time.monotonic()
        return Moment(at_s, tree_cpu_s(self._pid), tree_cpu_s(self._broker), own.user + own.system, machine_cpu_s())


def _follow(results: Results, span: _Span, child: Child, *, sent: int, whole: bool) -> None:
    """Read until the window is over, and if `whole` until all is answered or nothing comes any more."""
    began_s = newest_s = time.monotonic()
    while span.end is None or (whole and results.count < sent):
        if results.gather(GATHER_S):
            newest_s = time.monotonic()
            span.look(results.count)
            continue
        child.check()
        now_s = time.monotonic()
        if results.count == 0 and now_s - began_s > FIRST_RESULT_S:
            raise CandidateFailed(f"{child.name}: no result within {FIRST_RESULT_S:g} s", f"read {child.log_path}")
        if results.count and now_s - newest_s > QUIET_S:
            if span.end is not None:
                return
            cause = f"{child.name} stands still after {results.count:,} of {sent:,} results: {child.said()}"
            raise CandidateFailed(cause, f"read {child.log_path}")
