"""Two worker types at work: the autoscaler process, real workers on emulated devices, one group on the real broker."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from autoscaler.model import ArrivalSample, WorkerReport, WorkerState
from penstock.demo.children import Autoscaler
from penstock.demo.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.services

#: Requests a second: three CPU workers' worth, and less than half a GPU's.
RATE = 80.0
SETTINGS = """
state_dir = "state"

[pipeline]
name = "{pipeline}"
model = "{model}"

[topics]
partitions = 4

[kafka]
bootstrap_servers = "{bootstrap}"

[redis]
url_file = "redis-url"

[worker]
emulated_boot_s = {{ cpu = 1.0, gpu = 6.0 }}

[[worker_types]]
name = "cpu"
device = "emulated"
price_per_hour = 1.0
min_workers = 1
max_workers = 4
boot_s = 2.0
curve = {{ a_s = 0.06, b_s = 0.03, max_batch = 8 }}

[[worker_types]]
name = "gpu"
device = "emulated"
price_per_hour = 1.5
min_workers = 0
max_workers = 2
boot_s = 6.0
curve = {{ a_s = 0.05, b_s = 0.003, max_batch = 32 }}
"""


class Load:
    """Requests at a steady rate until told to stop."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="load")
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        began_s = time.monotonic()
        while not self._stop.wait(max(0.0, began_s + self.sent / RATE - time.monotonic())):
            self._pipeline.send(f"r{self.sent}", np.full((1, 4), float(self.sent)))
            self.sent += 1


@pytest.fixture
def watch(served: Any, redis_url: str) -> Iterator[Watch]:
    """What the pipeline tells."""
    with contextlib.closing(Watch(served.kafka, redis_url, served.name)) as found:
        yield found


def newest(watch: Watch, pipeline: str) -> dict[str, WorkerReport]:
    """Last report of each worker that serves and has said so within the last seconds."""
    watch.read(wait_ms=50)
    found = {one.worker: one for one in watch.tape if isinstance(one, WorkerReport) and one.pipeline == pipeline}
    return {n: r for n, r in found.items() if r.state is WorkerState.READY and r.at_s > time.time() - 4}


def declared(watch: Watch, pipeline: str) -> list[dict[str, int]]:
    """Fleets declared so far, each once in a row."""
    found: list[dict[str, int]] = []
    for one in watch.tape:
        if isinstance(one, ArrivalSample) and one.pipeline == pipeline and one.fleet is not None:
            fleet = dict(one.fleet.declared)
            if not found or found[-1] != fleet:
                found.append(fleet)
    return found


def test_cpu_workers_cover_a_gpu_that_starts_and_give_way_to_it(
    served: Any, redis_url: str, watch: Watch, doubling_model: Path
) -> None:
    """A load that is cheaper on the GPU: it is asked for, CPU workers serve meanwhile, then it has the load alone."""
    directory = served.directory
    (directory / "redis-url").write_text(redis_url)
    served.config.write_text(
        SETTINGS.format(pipeline=served.name, model=doubling_model, bootstrap=served.kafka.servers[0])
    )
    autoscaler = Autoscaler(served.config, directory / "state", directory / "logs", served.name)
    with contextlib.ExitStack() as stack:
        stack.callback(autoscaler.stop)

        def said() -> str:
            autoscaler.check()
            return f"{declared(watch, served.name)}\n{autoscaler.log_path.read_text()[-2000:]}"

        served.wait_until(lambda: bool(newest(watch, served.name)), 90, "a worker ready")
        load = stack.enter_context(Load(served))

        def types() -> collections.Counter[str]:
            said()
            return collections.Counter(one.worker_type for one in newest(watch, served.name).values())

        # 6 s of a GPU's boot are covered: by CPU workers that are asked for with it and serve before it.
        seen: list[collections.Counter[str]] = []

        def alone() -> bool:
            seen.append(types())
            return seen[-1]["gpu"] >= 1 and seen[-1]["cpu"] == 1

        served.wait_until(alone, 120, "the GPU serves beside the least of CPU workers")
        covering = [one["cpu"] for one in seen if not one["gpu"]]
        assert max(covering) >= 2, said()
        # By capacity: 220 a second against 27, of four partitions.
        owned = {one.worker_type: len(one.partitions) for one in newest(watch, served.name).values()}
        assert owned["gpu"] >= 3, owned
        load.stop()
        found = served.results(load.sent)
    ids = collections.Counter(one.id for one in found)
    assert set(ids) == {f"r{number}" for number in range(load.sent)}
    assert set(ids.values()) == {1}
    last = watch.decisions()[-1]
    assert last["price_per_hour"] == pytest.approx(last["fleet"]["cpu"] + 1.5 * last["fleet"]["gpu"])
    assert "cover" in " ".join(one["reason"] for one in watch.decisions())
