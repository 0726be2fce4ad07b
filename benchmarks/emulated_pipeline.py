"""What live benchmarks share: a pipeline of the digits model on an emulated device, and workers that own it evenly."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from autoscaler.model import ServiceCurve
from penstock.errors import InvalidInput
from penstock.loadtest import run as tests
from streams.kafka import Admin
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from pathlib import Path

    from autoscaler.model import Objective
    from penstock.demo.digits import Digits
    from penstock.settings import Settings
    from streams.kafka import KafkaSettings


def curve_of(text: str) -> ServiceCurve:
    """The curve of `--emulated A_MS,B_MS,BATCH`.

    Raises:
        InvalidInput: it is none.
    """
    try:
        a_ms, b_ms, most = (float(part) for part in text.split(","))
        return ServiceCurve(a_ms / 1000, b_ms / 1000, int(most))
    except ValueError as error:
        raise InvalidInput(
            f"--emulated {text!r}: {error}", "give ms a batch, ms a row and most rows, e.g. 40,10,8"
        ) from error


def prepare(
    place: Path, name: str, *, kafka: KafkaSettings, digits: Digits, curve: ServiceCurve, partitions: int,
    worker_type: str, objective: Objective | None = None,
) -> Path:  # fmt: skip
    """Make the topics of such a pipeline and write its settings; returns their file."""
    with Admin(kafka, "penstock-benchmark") as admin:
        ensure_topics(admin, name, TopicSettings(partitions=partitions))
    config = place / name / "penstock.toml"
    config.parent.mkdir()
    asked = (
        "" if objective is None else f"objective = {{ within_s = {objective.within_s}, share = {objective.share} }}\n"
    )
    config.write_text(
        f'[pipeline]\nname = "{name}"\nmodel = "{digits.model}"\n{asked}'
        f'[kafka]\nbootstrap_servers = "{kafka.bootstrap_servers}"\n'
        f"[topics]\npartitions = {partitions}\n"
        f'[[worker_types]]\nname = "{worker_type}"\ndevice = "emulated"\n'
        f"[worker_types.curve]\na_s = {curve.a_s}\nb_s = {curve.b_s}\nmax_batch = {curve.max_batch}\n",
        encoding="utf-8",
    )
    return config


def settle(tree: Settings, count: int, timeout_s: float) -> None:
    """Wait until so many workers own all partitions between them, as evenly as can be.

    Raises:
        LoadTestFailed: they do not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(tests.LoadTestFailed):
            serving, partitions = tests.members(tree)
            owned = [one.partitions for one in serving]
            if len(owned) == count and sum(owned) == partitions and max(owned) <= -(-partitions // count):
                return
    raise tests.LoadTestFailed(
        f"{count} workers did not share the partitions within {timeout_s:g} s", "read their logs"
    )
