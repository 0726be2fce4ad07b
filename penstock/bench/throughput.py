"""Throughput of one candidate: how many requests, how long, and one run of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from penstock.bench import candidates as names
from penstock.bench.kafka_side import write
from penstock.bench.saturation import COMPARED, Window, saturate

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.bench.candidates import Candidate
    from penstock.bench.ground import Ground
    from penstock.bench.options import Options
    from penstock.bench.saturation import Throughput

#: Results before the window, as a share of its records.
WARM_SHARE = 0.15
#: How many more requests than the window needs are preloaded, so that it ends while there is work.
SPARE = 1.25
#: Fewest requests of many rows: the same work in fewer records.
WIDE_RECORDS = 4000
#: Requests of a candidate that answers some tens a second, and seconds for its window.
SLOW_RECORDS, SLOW_SECONDS = 400, 10.0
#: A slow candidate's first results that do not count.
SLOW_WARM = 5


def first_guess(options: Options, one: Candidate) -> int:
    """How many requests to preload for a candidate that has not run yet."""
    return int(window(options, one).records * (1 + WARM_SHARE) * SPARE)


def window(options: Options, one: Candidate) -> Window:
    """How much of a run of a candidate is measured."""
    records = options.records if one.rows == 1 else min(options.records, WIDE_RECORDS)
    most_s = max(60.0, options.seconds)
    if one.slow:
        return Window(SLOW_WARM, min(SLOW_RECORDS, options.records), options.seconds, SLOW_SECONDS)
    return Window(int(records * WARM_SHARE), records, options.seconds, most_s)


def throughput(ground: Ground, one: Candidate, turn: int, sent: int) -> Throughput:
    """Fill a fresh topic, start a candidate and follow its results.

    Raises:
        CandidateFailed: it ended, or stands still.
    """
    workload = ground.workload(one)
    topics = ground.new_topics()
    write(ground.bootstrap, topics.requests, (workload.request(number) for number in range(sent)))
    directory = ground.directory / topics.pipeline
    whole = one.delivery == names.EXACTLY_ONCE
    try:
        with ground.child(one, topics, directory) as child:
            found = saturate(
                child, ground.bootstrap, topics.results, workload, sent=sent, window=window(ground.options, one),
                whole=whole, broker=ground.broker, compared=COMPARED if one.computes else 0,
            )  # fmt: skip
    finally:
        ground.admin.delete_topics(topics.all)
    if ground.options.profiles is not None and one.program == names.PENSTOCK:
        _keep_profile(ground.options.profiles, one, directory, turn)
    return found


def _keep_profile(into: Path, one: Candidate, directory: Path, turn: int) -> None:
    into.mkdir(parents=True, exist_ok=True)
    stem = f"profile-{one.delivery}-{one.encoding}-{one.rows}-{turn + 1}"
    for suffix in (".txt", ".stacks"):
        made = directory / f"profile{suffix}"
        if made.is_file():
            shutil.copy(made, into / f"{stem}{suffix}")
