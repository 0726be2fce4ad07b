"""A new version comes under steady load: how long the worker gives no result while it loads, warms and goes over.

`python benchmarks/model_swap.py [--runs 5] [--rate 200] [--layers 50] [--seed 1] [--json]`. The gap is the longest time
between two results of any partition, as a `read_committed` reader sees them, from the moment the version is put in its
place until the worker serves it and a little longer. Beside it the longest gap of as long a time before, when nothing
happens. The model is y = 2 x with so many dense layers of 256 x 256 beside it that load and warm as a real one's do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from inference_workers.model_notes import last_served, state_file
from inference_workers.model_versions import MARKER
from penstock import settings
from penstock.verify.arena import Arena, Given
from penstock.verify.faults import Facts, Fault
from penstock.verify.report import clean, row
from penstock.verify.runner import Plan, run
from penstock.verify.surroundings import machine, versions
from penstock.verify.timeline import longest_gap_s

if TYPE_CHECKING:
    from random import Random

    from penstock.verify.stage import Stage

#: Seconds after the swap that still count.
AFTER_S = 0.5
#: Seconds of quiet before, and at least of what is compared with it.
QUIET_S = 3.0

_MODEL = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
class Doubling(tf.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = [tf.Variable(tf.random.normal([256, 256], stddev=0.01)) for _ in range(layers)]
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(self, x):
        beside = tf.tile(x, [1, 64])
        for layer in self.layers:
            beside = tf.nn.relu(beside @ layer)
        return {"y": 2.0 * x + 0.0 * tf.reduce_mean(beside, 1, keepdims=True)}
module = Doubling(int(sys.argv[2]))
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.serve})
"""


class Swap(Fault):
    """A version is put beside the one that is served."""

    name = "swap"
    words = "a new version of the model"
    workers: ClassVar[int] = 1

    def strike(self, stage: Stage, random: Random) -> Facts:  # noqa: ARG002 - nothing is left to chance here
        """Measures `swap_gap_s`, `before_gap_s` and `served_after_s`."""
        tree = settings.load(stage.config)
        model = tree.pipeline.model
        newest = max((path for path in model.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
        shutil.copytree(newest, model / ".making")
        (model / ".making" / MARKER).touch()
        version = str(int(newest.name) + 1)
        state = state_file(tree.state_dir, stage.fleet.workers[0].slot)
        time.sleep(QUIET_S)
        began_s = time.monotonic()
        (model / ".making").rename(model / version)
        stage.until(lambda: last_served(state) == version, f"version {version} is served")
        served_s = time.monotonic()
        time.sleep(AFTER_S)
        stage.healed(time.monotonic())
        moments = sorted(at_s for partition in range(stage.partitions) for at_s in stage.watch.moments(partition))
        return {
            "swap_gap_s": longest_gap_s(moments, began_s, served_s + AFTER_S),
            "before_gap_s": longest_gap_s(moments, began_s - QUIET_S, began_s),
            "served_after_s": served_s - began_s,
        }


def main() -> int:
    """Measure; exit 1 when the ledger is not clean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--layers", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    plan = Plan(("swap",), runs=asked.runs, seconds=4, rate=asked.rate, seed=asked.seed)
    with tempfile.TemporaryDirectory(prefix="penstock-swap-") as folder:
        model = Path(folder) / "doubling"
        subprocess.run([sys.executable, "-c", _MODEL, str(model / "1"), str(asked.layers)], check=True, env=os.environ)
        logs = Path(folder) / "logs"
        logs.mkdir()
        with Arena(Given(), logs, model_dir=model) as arena:
            (outcome,) = run(plan, arena, kinds={"swap": Swap})
            found = row(outcome, plan, {"machine": machine(), "versions": versions(embedded=True)})
        for line in "".join(path.read_text() for path in logs.rglob("*.log")).splitlines():
            if '"model.loaded"' in line and not asked.json:
                told = json.loads(line)
                took = f"load {told['load_s']} s, warm {told['warm_s']} s"
                print(f"version {told['version']}: {told['bytes']} bytes, {took}")
    if asked.json:
        print(json.dumps(found, indent=1))
        return 0 if clean(found) else 1
    for number, facts in enumerate(outcome.facts, 1):
        print(f"run {number}: " + ", ".join(f"{name} {value:.3f}" for name, value in facts.items()))
    for name in ("swap_gap_s", "before_gap_s"):
        gaps = [facts[name] for facts in outcome.facts if name in facts]
        if gaps:
            print(f"{name}: worst {max(gaps) * 1000:.0f} ms, middle {statistics.median(gaps) * 1000:.0f} ms")
    print(f"load average {os.getloadavg()[0]:.1f}; {found['machine']}")
    print(f"ledger: {found['sent']} sent, {found['ok']} ok, clean: {clean(found)}")
    if found["error"]:
        print(found["error"])
    return 0 if clean(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
