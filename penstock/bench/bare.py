"""Bare TensorFlow at several batch sizes and numbers of threads, a process each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.bench.errors import CandidateFailed
from penstock.demo.surroundings import environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Rows and threads at which bare TensorFlow is measured; 0 = as many threads as TensorFlow likes.
BARE_BATCHES, BARE_THREADS = (16, 32, 64, 128, 256, 512), (1, 0)
#: What measures them.
PROGRAM = "penstock.bench.bare_tensorflow"


@dataclass(frozen=True, slots=True)
class Bare:
    """The best of them."""

    #: By field of `Row` or name in its `more`.
    values: Mapping[str, float]
    facts: Mapping[str, Any]
    #: For people.
    said: str


def bare(model: Path, seconds: float) -> Bare:
    """Measure.

    Args:
        model: `models/digits`, with version 1 in it.
        seconds: of a throughput window; each batch size gets a third of it, at most 1.

    Raises:
        CandidateFailed: it ended with an error.
    """
    found = []
    for threads in BARE_THREADS:
        job = {
            "model": str(model / "1"),
            "intra_op_threads": threads,
            "batches": BARE_BATCHES,
            "seconds": min(1.0, seconds / 3),
        }
        done = subprocess.run(
            [sys.executable, "-m", PROGRAM, json.dumps(job)],
            capture_output=True,
            text=True,
            check=False,
            env=environment(os.environ) | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            timeout=300,
        )
        if done.returncode:
            raise CandidateFailed(f"bare TensorFlow ended with {done.returncode}: {done.stderr[-400:]}", "see above")
        found += [{"threads": threads, **entry} for entry in json.loads(done.stdout)]
    best = max(found, key=lambda entry: entry["rows_per_s"])
    least = min(found, key=lambda entry: entry["cpu_us_per_row"])
    values = {
        "records_per_s": best["rows_per_s"],
        "rows_per_s": best["rows_per_s"],
        "cpu_us_per_record": best["cpu_us_per_row"],
        "least_cpu_us_per_row": least["cpu_us_per_row"],
    }
    facts = {
        "best_batch": best["batch"],
        "best_intra_op_threads": best["threads"] or "TensorFlow's default",
        "least_cpu_batch": least["batch"],
    }
    said = (
        f"{best['rows_per_s']:,.0f} rows/s at batch {best['batch']} with {best['threads'] or 'default'} thread(s), "
        f"{best['cpu_us_per_row']:.1f} us CPU a row (least {least['cpu_us_per_row']:.1f} at {least['batch']})"
    )
    return Bare(values, facts, said)
