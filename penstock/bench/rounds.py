"""All candidates in turn and again, at saturation and at rates, and what they showed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from penstock.bench import candidates as names
from penstock.bench.bare import bare
from penstock.bench.children import absent
from penstock.bench.errors import BenchError
from penstock.bench.open_loop import measure
from penstock.bench.options import LOW_RATE
from penstock.bench.rows import Measured
from penstock.bench.saturation import COMPARED
from penstock.bench.throughput import SPARE, WARM_SHARE, first_guess, throughput
from penstock.bench.warm_up import warm_up, ways

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from penstock.bench.candidates import Candidate
    from penstock.bench.ground import Ground

#: Shares of our own saturation at which latency is measured.
SHARES = (0.25, 0.5, 0.75)


class Rounds:
    """One run's measurements.

    Args:
        ground: what the candidates share.
        console: where progress is told.
    """

    def __init__(self, ground: Ground, console: Console) -> None:
        self._ground, self._console = ground, console
        #: Requests that a candidate needs, learnt from its first run.
        self._preloads: dict[tuple[Any, ...], int] = {}
        self.measured = {one.key: Measured(one) for one in ground.options.candidates}
        #: What is wrong with our own rows.
        self.problems: list[str] = []
        self.failed = False

    def measure(self) -> None:
        """All candidates in turn, and again: what disturbs the machine for a while disturbs all of them."""
        for one in self._ground.options.candidates:
            why = absent(one)
            if why:
                self._note(one, why)
        runs = [one for one in self._ground.options.candidates if absent(one) is None]
        self._warm()
        if any(not one.computes for one in runs):
            self._ground.prepare()
        for turn in range(self._ground.options.repeat):
            # Turned by one each time, so that nobody always comes after the same neighbour.
            shift = turn * (len(runs) // max(self._ground.options.repeat, 1) or 1) % max(len(runs), 1)
            order = runs[shift:] + runs[:shift]
            for one in order:
                self._guarded(one, turn, self._saturated)
            if self._ground.options.latencies:
                for one in (one for one in order if one.timed):
                    self._guarded(one, turn, self._at(LOW_RATE))
        if self._ground.options.latencies and self._ground.options.shares:
            self._at_shares(runs)

    def _warm(self) -> None:
        """The same for everybody, whoever is measured."""
        seconds = self._ground.options.warm_s
        if not seconds:
            return
        for one in ways():
            try:
                said = f"{warm_up(self._ground, one, seconds):,} answers in {seconds:g} s"
            except BenchError as error:
                # It will fail again where it counts, and say so there.
                said = f"failed: {error.cause}"
            line = f"warming the broker  {one.label:<50} {said}"
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _at_shares(self, runs: Sequence[Candidate]) -> None:
        """The same rates for all: shares of what our own worker can do, and half of what the best peer can."""
        ours = next((one for one in runs if one.timed and one.name == names.PENSTOCK), None)
        most = self._median(ours)
        if ours is None or most is None:
            return
        peers = [one for one in runs if one.timed and one.name in names.BEST_PEERS and self._median(one)]
        peer = max(peers, key=lambda one: self._median(one) or 0.0, default=None)
        theirs = self._median(peer)
        rates = {share: _round_rate(most * share) for share in SHARES}
        for turn in range(self._ground.options.repeat):
            for rate in rates.values():
                self._guarded(ours, turn, self._at(rate))
            if peer is not None and theirs is not None:
                half = _round_rate(theirs * 0.5)
                for one in (peer, ours):
                    self._guarded(one, turn, self._at(half))
                self._guarded(peer, turn, self._at(rates[0.5]))

    def _median(self, one: Candidate | None) -> float | None:
        if one is None:
            return None
        row = self.measured[one.key].rows({}, LOW_RATE)[0]
        return row.records_per_s

    def _guarded(self, one: Candidate, turn: int, work: Callable[[Candidate, int], str]) -> None:
        began_s = time.monotonic()
        try:
            said = work(one, turn)
        except BenchError as error:
            self.failed = True
            self._note(one, f"failed: {error.cause}"[:700])
            said = f"failed: {error.cause}"
        took_s = time.monotonic() - began_s
        line = f"{turn + 1}/{self._ground.options.repeat}  {one.label:<52} {said}  ({took_s:.0f} s)"
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _note(self, one: Candidate, words: str) -> None:
        self.measured[one.key].notes.append(words)
        if one.name in (names.PENSTOCK, names.TENSORFLOW_LIMIT, *names.WITHOUT_MODEL):
            self.problems.append(f"{one.label}: {words}")

    # --- throughput

    def _saturated(self, one: Candidate, turn: int) -> str:
        if one.name == names.TENSORFLOW_LIMIT:
            limit = bare(self._ground.digits.model, self._ground.options.seconds)
            self.measured[one.key].add(limit.values)
            self.measured[one.key].facts |= limit.facts
            return limit.said
        while True:
            sent = self._preloads.get(one.key) or first_guess(self._ground.options, one)
            found = throughput(self._ground, one, turn, sent)
            if not found.too_short or one.slow:
                break
            longer = found.records_per_s * self._ground.options.seconds * (1 + WARM_SHARE) * SPARE * 1.2
            self._preloads[one.key] = max(int(longer), sent * 2)
        if found.audit.problem and one.delivery == names.EXACTLY_ONCE:
            self._note(one, found.audit.problem)
        elif found.audit.wrong:
            self._note(one, f"{found.audit.wrong:,} wrong answers")
        self.measured[one.key].add(
            {
                "records_per_s": found.records_per_s,
                "rows_per_s": found.records_per_s * one.rows,
                "cpu_us_per_record": found.cpu_us_per_record,
                "worker_cores": found.worker_cpu_s / found.seconds,
                "broker_cpu_us_per_record": found.broker_cpu_s / found.records * 1e6,
                "other_cores": found.other_cores,
                "records_per_transaction": found.records_per_transaction,
                "window_records": found.records,
                "window_s": found.seconds,
                "duplicated": found.audit.duplicated,
            }
        )
        per = f", {found.records_per_transaction:,.0f} a transaction" if found.records_per_transaction else ""
        return (
            f"{found.records_per_s:,.0f}/s, {found.cpu_us_per_record:,.0f} us CPU a record{per}; "
            f"{found.records:,} in {found.seconds:.1f} s, other cores {found.other_cores:.2f}"
        )

    # --- latency

    def _at(self, rate: float) -> Callable[[Candidate, int], str]:
        def work(one: Candidate, turn: int) -> str:
            return self._open_loop(one, turn, rate)

        return work

    def _open_loop(self, one: Candidate, turn: int, rate: float) -> str:
        ground = self._ground
        workload = ground.workload(one)
        topics = ground.new_topics()
        directory = ground.directory / topics.pipeline
        try:
            with ground.child(one, topics, directory) as child:
                found = measure(
                    child, ground.bootstrap, topics.requests, topics.results, workload, rate=rate,
                    seconds=ground.options.open_loop_s, seed=turn, directory=directory,
                    compared=COMPARED if one.computes else 0,
                )  # fmt: skip
        finally:
            ground.admin.delete_topics(topics.all)
        told = found.latency
        most = self._median(one)
        if found.audit.wrong or (found.audit.duplicated and one.delivery == names.EXACTLY_ONCE):
            self._note(one, f"at {rate:g}/s: {found.audit.wrong} wrong, {found.audit.duplicated} duplicated")
        self.measured[one.key].add(
            {
                "p50_ms": told.p50_ms,
                "p99_ms": told.p99_ms,
                "share_of_own_saturation": rate / most if most else None,
                "open_loop_requests": told.count,
                "open_loop_unanswered": told.unanswered,
                "generator_late_p99_ms": found.generator_late_ms,
            },
            rate=rate,
        )
        return (
            f"at {rate:,.0f}/s: p50 {told.p50_ms or 0:.1f} ms, p99 {told.p99_ms or 0:.1f} ms of {told.count:,}"
            f"{f', {told.unanswered:,} unanswered' if told.unanswered else ''}, "
            f"generator late by {found.generator_late_ms:.1f} ms (p99)"
        )


def _round_rate(rate: float) -> float:
    """To two digits: a rate that can be said."""
    return float(f"{rate:.2g}")
