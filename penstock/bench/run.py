"""A benchmark from start to end: broker, model, every candidate in turn and again, and everything stopped."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.bench import candidates as names
from penstock.bench.children import Child, absent
from penstock.bench.errors import BenchError, CandidateFailed
from penstock.bench.kafka_side import PARTITIONS, Results, Topics, content, write
from penstock.bench.machine import machine, peer_versions, versions
from penstock.bench.open_loop import measure
from penstock.bench.rows import Measured
from penstock.bench.saturation import COMPARED, FIRST_RESULT_S, Window, saturate
from penstock.bench.workload import Workload
from penstock.demo.digits import Training
from penstock.demo.surroundings import environment
from penstock.local.paths import cache_directory
from penstock.local.progress import Bar
from penstock.local.services import LocalServices, status
from streams.kafka import Admin, KafkaSettings
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from penstock.bench.candidates import Candidate
    from penstock.bench.rows import Row
    from penstock.bench.saturation import Throughput
    from penstock.demo.digits import Digits

#: Open-loop rate at which all exactly-once candidates can be compared, requests a second.
LOW_RATE = 200.0
#: Shares of our own saturation at which latency is measured.
SHARES = (0.25, 0.5, 0.75)
#: Results before the window, as a share of its records.
WARM_SHARE = 0.15
#: How many more requests than the window needs are preloaded, so that it ends while there is work.
SPARE = 1.25
#: Fewest requests of many rows: the same work in fewer records.
WIDE_RECORDS = 4000
#: Requests of a candidate that answers some tens a second, and seconds for its window.
SLOW_RECORDS, SLOW_SECONDS = 400, 10.0
#: Rows and threads at which bare TensorFlow is measured; 0 = as many threads as TensorFlow likes.
BARE_BATCHES, BARE_THREADS = (16, 32, 64, 128, 256, 512), (1, 0)


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of one benchmark."""

    candidates: tuple[Candidate, ...]
    #: Fewest records and seconds of a throughput window.
    records: int
    seconds: float
    #: Seconds of an open-loop run.
    open_loop_s: float
    repeat: int
    directory: Path
    #: Whether to measure latency, and at shares of our own saturation as well.
    latencies: bool = True
    shares: bool = True
    #: `section.field` -> TOML value, for our worker.
    worker: Mapping[str, str] = field(default_factory=dict)
    #: Directory for profiles of our worker; `None` = it is not sampled.
    profiles: Path | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured."""

    rows: list[Row]
    machine: Mapping[str, str]
    #: What is wrong with our own rows: a wrong, lost or doubled answer.
    problems: tuple[str, ...]


def run(options: Options, console: Console) -> Outcome:
    """Measure.

    Raises:
        PenstockError: something that every row needs is missing or failed; what was started is stopped all the same.
    """
    root = options.directory.expanduser().resolve() / ".penstock" / "bench"
    root.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=root))
    before = machine()
    keep = options.keep
    try:
        with contextlib.ExitStack() as stack:
            models = cache_directory(os.environ, Path.home()) / "models"
            with Training(models) as training, Bar(console) as bar:
                services = stack.enter_context(LocalServices.start(directory, progress=bar, ephemeral=True))
                digits = training.result()
            broker = status(directory).kafka.pid
            admin = stack.enter_context(Admin(KafkaSettings(bootstrap_servers=services.bootstrap), "bench"))
            bench = _Bench(
                options, console, directory=directory, digits=digits, bootstrap=services.bootstrap, broker=broker or 0,
                admin=admin,
            )  # fmt: skip
            bench.measure()
        keep = keep or bench.failed
    except BaseException:
        keep = True
        raise
    finally:
        if keep:
            console.print(f"Logs of this run: {directory}", soft_wrap=True, highlight=False, markup=False)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    known = {**peer_versions(), **versions()}
    foreign = {**versions(), **peer_versions()}
    rows = [
        row
        for one in bench.measured.values()
        for row in one.rows(foreign if one.candidate.foreign else known, LOW_RATE)
    ]
    return Outcome(rows, before, tuple(bench.problems))


class _Bench:
    def __init__(
        self,
        options: Options,
        console: Console,
        *,
        directory: Path,
        digits: Digits,
        bootstrap: str,
        broker: int,
        admin: Admin,
    ) -> None:
        self._options, self._console, self._directory = options, console, directory
        self._digits, self._bootstrap, self._broker = digits, bootstrap, broker
        self._admin = admin
        self._numbers = itertools.count(1)
        self._workloads: dict[tuple[str, int], Workload] = {}
        #: Requests that a candidate needs, learnt from its first run.
        self._preloads: dict[tuple[Any, ...], int] = {}
        self._template: dict[str, Any] = {}
        self.measured = {one.key: Measured(one) for one in options.candidates}
        self.problems: list[str] = []
        self.failed = False

    def measure(self) -> None:
        """All candidates in turn, and again: what disturbs the machine for a while disturbs all of them."""
        for one in self._options.candidates:
            why = absent(one)
            if why:
                self._note(one, why)
        runs = [one for one in self._options.candidates if absent(one) is None]
        if any(not one.computes for one in runs):
            self._template = self._sample_result()
        for turn in range(self._options.repeat):
            # Turned by one each time, so that nobody always comes after the same neighbour.
            shift = turn * (len(runs) // max(self._options.repeat, 1) or 1) % max(len(runs), 1)
            order = runs[shift:] + runs[:shift]
            for one in order:
                self._guarded(one, turn, self._saturated)
            if self._options.latencies:
                for one in (one for one in order if one.timed):
                    self._guarded(one, turn, self._at(LOW_RATE))
        if self._options.latencies and self._options.shares:
            self._at_shares(runs)

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
        for turn in range(self._options.repeat):
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
        line = f"{turn + 1}/{self._options.repeat}  {one.label:<52} {said}  ({took_s:.0f} s)"
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _note(self, one: Candidate, words: str) -> None:
        self.measured[one.key].notes.append(words)
        if one.name in (names.PENSTOCK, names.TENSORFLOW_LIMIT, *names.WITHOUT_MODEL):
            self.problems.append(f"{one.label}: {words}")

    # --- throughput

    def _saturated(self, one: Candidate, turn: int) -> str:
        if one.name == names.TENSORFLOW_LIMIT:
            return self._bare(one)
        while True:
            sent = self._preloads.get(one.key) or self._first_guess(one)
            found = self._throughput(one, turn, sent)
            if not found.too_short or one.slow:
                break
            longer = found.records_per_s * self._options.seconds * (1 + WARM_SHARE) * SPARE * 1.2
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

    def _first_guess(self, one: Candidate) -> int:
        return int(self._window(one).records * (1 + WARM_SHARE) * SPARE)

    def _window(self, one: Candidate) -> Window:
        options = self._options
        records = options.records if one.rows == 1 else min(options.records, WIDE_RECORDS)
        most_s = max(60.0, options.seconds)
        if one.slow:
            return Window(BATCH_OF_ONE, min(SLOW_RECORDS, options.records), options.seconds, SLOW_SECONDS)
        return Window(int(records * WARM_SHARE), records, options.seconds, most_s)

    def _throughput(self, one: Candidate, turn: int, sent: int) -> Throughput:
        workload = self._workload(one)
        topics = self._new_topics()
        write(self._bootstrap, topics.requests, (workload.request(number) for number in range(sent)))
        directory = self._directory / topics.pipeline
        whole = one.delivery == names.EXACTLY_ONCE
        try:
            with self._child(one, topics, directory) as child:
                found = saturate(
                    child, self._bootstrap, topics.results, workload, sent=sent, window=self._window(one), whole=whole,
                    broker=self._broker, compared=COMPARED if one.computes else 0,
                )  # fmt: skip
        finally:
            self._admin.delete_topics(topics.all)
        if self._options.profiles is not None and one.program == names.PENSTOCK:
            self._keep_profile(one, directory, turn)
        return found

    def _keep_profile(self, one: Candidate, directory: Path, turn: int) -> None:
        into = self._options.profiles
        if into is None:
            return
        into.mkdir(parents=True, exist_ok=True)
        stem = f"profile-{one.delivery}-{one.encoding}-{one.rows}-{turn + 1}"
        for suffix in (".txt", ".stacks"):
            made = directory / f"profile{suffix}"
            if made.is_file():
                shutil.copy(made, into / f"{stem}{suffix}")

    def _bare(self, one: Candidate) -> str:
        found = []
        for threads in BARE_THREADS:
            job = {
                "model": str(self._digits.model / "1"),
                "intra_op_threads": threads,
                "batches": BARE_BATCHES,
                "seconds": min(1.0, self._options.seconds / 3),
            }
            done = subprocess.run(
                [sys.executable, "-m", one.program.removeprefix("module:"), json.dumps(job)],
                capture_output=True,
                text=True,
                check=False,
                env=environment(os.environ) | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
                timeout=300,
            )
            if done.returncode:
                raise CandidateFailed(
                    f"bare TensorFlow ended with {done.returncode}: {done.stderr[-400:]}", "see above"
                )
            found += [{"threads": threads, **entry} for entry in json.loads(done.stdout)]
        best = max(found, key=lambda entry: entry["rows_per_s"])
        least = min(found, key=lambda entry: entry["cpu_us_per_row"])
        into = self.measured[one.key]
        into.add(
            {
                "records_per_s": best["rows_per_s"],
                "rows_per_s": best["rows_per_s"],
                "cpu_us_per_record": best["cpu_us_per_row"],
                "least_cpu_us_per_row": least["cpu_us_per_row"],
            }
        )
        into.facts |= {
            "best_batch": best["batch"],
            "best_intra_op_threads": best["threads"] or "TensorFlow's default",
            "least_cpu_batch": least["batch"],
        }
        return (
            f"{best['rows_per_s']:,.0f} rows/s at batch {best['batch']} with {best['threads'] or 'default'} thread(s), "
            f"{best['cpu_us_per_row']:.1f} us CPU a row (least {least['cpu_us_per_row']:.1f} at {least['batch']})"
        )

    # --- latency

    def _at(self, rate: float) -> Callable[[Candidate, int], str]:
        def work(one: Candidate, turn: int) -> str:
            return self._open_loop(one, turn, rate)

        return work

    def _open_loop(self, one: Candidate, turn: int, rate: float) -> str:
        workload = self._workload(one)
        topics = self._new_topics()
        directory = self._directory / topics.pipeline
        try:
            with self._child(one, topics, directory) as child:
                found = measure(
                    child, self._bootstrap, topics.requests, topics.results, workload, rate=rate,
                    seconds=self._options.open_loop_s, seed=turn, directory=directory,
                    compared=COMPARED if one.computes else 0,
                )  # fmt: skip
        finally:
            self._admin.delete_topics(topics.all)
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

    # --- parts

    def _new_topics(self) -> Topics:
        """As the product makes them, the same for everybody."""
        made = Topics(f"bench-{next(self._numbers)}")
        ensure_topics(self._admin, made.pipeline, TopicSettings(partitions=PARTITIONS))
        return made

    def _workload(self, one: Candidate) -> Workload:
        kind = (one.encoding, one.rows)
        if kind not in self._workloads:
            self._workloads[kind] = Workload(self._digits, *kind)
        return self._workloads[kind]

    def _child(self, one: Candidate, topics: Topics, directory: Path) -> Child:
        profile = self._options.profiles is not None and one.program == names.PENSTOCK
        return Child(
            one, topics=topics, bootstrap=self._bootstrap, model=self._digits.model, directory=directory,
            extra=self._options.worker, told=None if one.computes else self._template,
            profile=profile,
        )  # fmt: skip

    def _sample_result(self) -> dict[str, Any]:
        """One result as our worker writes it: the client's limit writes its very bytes."""
        one = names.select([names.PENSTOCK])[0]
        topics = self._new_topics()
        workload = self._workload(one)
        write(self._bootstrap, topics.requests, (workload.request(number) for number in range(64)))
        deadline = time.monotonic() + FIRST_RESULT_S
        try:
            with (
                self._child(one, topics, self._directory / topics.pipeline) as child,
                Results(self._bootstrap, topics.results) as results,
            ):
                while not results.follow(0.2):
                    child.check()
                    if time.monotonic() > deadline:
                        raise CandidateFailed("our worker gave no result to copy", f"read {child.log_path}")
                _, value, headers = content(results.arrivals[0].messages[0])
        finally:
            self._admin.delete_topics(topics.all)
        encoded = [[name, base64.b64encode(text).decode()] for name, text in headers]
        return {"result_value": base64.b64encode(value or b"").decode(), "result_headers": encoded}


#: A slow candidate's first results that do not count.
BATCH_OF_ONE = 5


def _round_rate(rate: float) -> float:
    """To two digits: a rate that can be said."""
    return float(f"{rate:.2g}")
