"""The measuring process: `python -m penstock.profile.child JOB`; tells its progress and its result as lines of JSON.

A process of its own for each setting, since TensorFlow takes threads and devices only before its first operation, and
memory is told by process.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from pydantic import TypeAdapter

from autoscaler.model import ServiceCurve
from autoscaler.planning.service_fit import fit_where_it_holds, known_within, levels, size_times
from inference_workers.batching import allowed_sizes, padded_size
from inference_workers.device import Device, parse_device
from inference_workers.model import ComputeFailed, ServedModel, configure_tensorflow
from penstock.profile.job import Job, Measured, Noise, OpenLoop
from penstock.profile.noise import KNOWN, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from autoscaler.planning.service_fit import SizeTimes

#: Fewest rounds over all sizes for a figure to be trusted; the spread between them tells how far.
ROUNDS = 12
#: Rounds that are made however long they take, and after how many times the asked time no more begin: a machine that is
#: busy with other things, or a slow model, would take many times as long as asked.
LEAST_ROUNDS, LONGEST = 4, 5.0
#: Batches of a size in a round, after one that is not counted. Few, so that rounds are short: neighbours on the machine
#: come and go within a second, and meet all sizes alike only where all are measured within less.
BATCHES = 2
#: Times that the half widths are looked at within the asked time.
LOOKS = 10
#: Shares of the closed-loop throughput at which the open loop is run.
SHARES = (0.5, 0.7, 0.85)
#: Most requests of an open-loop run, and how many times as long as planned it may take.
MOST_REQUESTS, LONGEST_OPEN = 50_000, 4.0


class XlaModel:
    """The same version, its signature compiled by XLA for each batch size; as `ServedModel` is run.

    Raises:
        ComputeFailed: from `run`, also where XLA cannot compile the graph.
    """

    def __init__(self, served: ServedModel, model_dir: Path) -> None:
        import tensorflow as tf  # noqa: PLC0415 - seconds of import

        self._tf, self._served = tf, served
        self._loaded = tf.saved_model.load(str(model_dir / served.version))
        signature = self._loaded.signatures["serving_default"]
        self._function = tf.function(lambda inputs: signature(**inputs), jit_compile=True)

    def sample(self, rows: int) -> dict[str, NDArray[Any]]:
        """An input of the right form."""
        return self._served.sample(rows)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute one batch."""
        try:
            tensors = self._function({name: self._tf.constant(array) for name, array in inputs.items()})
            return {name: tensor.numpy() for name, tensor in tensors.items()}
        except (self._tf.errors.OpError, ValueError, TypeError) as error:
            raise ComputeFailed(str(error)[:300], out_of_memory=False) from error


class Bench:
    """One loaded model on one device, and the clock beside it."""

    def __init__(self, model: ServedModel | XlaModel, device: Device) -> None:
        # The device only asks a model to run.
        self._model: Any = model
        self.device = device
        self._samples: dict[int, dict[str, NDArray[Any]]] = {}

    def batch(self, rows: int) -> float:
        """Run one batch of `rows` rows (not padded); returns its seconds."""
        if rows not in self._samples:
            self._samples[rows] = self._model.sample(rows)
        return self.device.compute(self._model, self._samples[rows], rows)[1]


def tried_sizes(most_rows: int) -> tuple[tuple[int, bool], ...]:
    """Rows and whether they are held out from the fit: powers of two are fitted, what lies between checks it."""
    fitted = allowed_sizes(most_rows)
    held = [3 * 2**k for k in range(most_rows.bit_length()) if 3 * 2**k < most_rows and 3 * 2**k not in fitted]
    return tuple(sorted([(rows, False) for rows in fitted] + [(rows, True) for rows in held]))


def main(text: str) -> None:
    """Do the job that `text` holds as JSON."""
    job = TypeAdapter(Job).validate_json(text)
    process = psutil.Process()
    # The device's number; an emulated one computes on the CPU.
    device = parse_device(job.device, ServiceCurve(0, 1, 1))
    configure_tensorflow(job.threads, gpu=device.gpu)
    imported_s, imported_bytes = time.time() - process.create_time(), process.memory_info().rss
    _tell("loading", 0.0)
    began_s = time.perf_counter()
    served = ServedModel(Path(job.model), job.version)
    model = XlaModel(served, Path(job.model)) if job.xla else served
    load_s, loaded_bytes = time.perf_counter() - began_s, process.memory_info().rss
    bench = Bench(model, Device(gpu=device.gpu, emulated=job.emulated))
    began_s = time.perf_counter()
    sizes, stopped_by = _warm(bench, job, process)
    warm_s = time.perf_counter() - began_s
    before = Reading.now(time.monotonic(), process.pid)
    own = time.process_time(), time.perf_counter()
    measured, spread, left_out = _closed_loop(bench, sizes, job)
    busy_s, took_s = time.process_time() - own[0], time.perf_counter() - own[1]
    after = Reading.now(time.monotonic(), process.pid)
    waits = job.emulated is not None or device.gpu is not None
    noise = Noise(
        round_spread=spread,
        steal=before.steal_until(after),
        other_cores=before.others_until(after),
        kept_waiting=None if waits else max(0.0, 1 - busy_s / took_s),
        rounds_left_out=left_out,
        known_within=max((size.high - size.low) / 2 / size.seconds for size in measured),
    )
    opened = _open_loops(bench, measured, job)
    result = Measured(
        job=job, import_s=imported_s, load_s=load_s, warm_s=warm_s, imported_bytes=imported_bytes,
        loaded_bytes=loaded_bytes, peak_bytes=_peak_bytes(process), gpu_bytes=_gpu_bytes(device), sizes=measured,
        stopped_by=stopped_by, open_loop=opened, noise=noise,
    )  # fmt: skip
    sys.stdout.write(json.dumps({"result": asdict(result)}) + "\n")


def _warm(bench: Bench, job: Job, process: psutil.Process) -> tuple[list[tuple[int, bool]], str]:
    """Run each size twice, the smallest first, until memory or time says that no larger one is of use."""
    usable: list[tuple[int, bool]] = []
    for rows, held_out in tried_sizes(job.most_rows):
        _tell(f"warming {rows} rows", 0.0)
        try:
            bench.batch(rows)
            seconds = bench.batch(rows)
        except ComputeFailed as error:
            if not usable:
                raise
            return usable, f"{rows} rows: {'out of memory' if error.out_of_memory else str(error)[:200]}"
        usable.append((rows, held_out))
        if process.memory_info().rss > job.memory_bytes:
            return usable, f"{rows} rows: the process has {process.memory_info().rss / 2**20:,.0f} MiB"
        if seconds > job.slowest_s:
            return usable, f"{rows} rows take {seconds:.3g} s"
    return usable, f"--max-batch {job.most_rows}"


def _closed_loop(
    bench: Bench, sizes: Sequence[tuple[int, bool]], job: Job, clock: Callable[[], float] = time.perf_counter
) -> tuple[tuple[SizeTimes, ...], float, int]:
    """Batches back to back, in rounds over all sizes in a new order each: drift of the machine meets all alike.

    Goes on for as long as was asked, and on a noisy machine until each size's seconds are known within `KNOWN`.

    Returns:
        the sizes' times, the typical spread of one size over the time, and the rounds left out for time.
    """
    rng = np.random.default_rng(job.seed)
    times: list[list[list[float]]] = [[] for _ in sizes]
    began_s, looked_s, made = clock(), 0.0, 0
    while True:
        spent_s = clock() - began_s
        if made >= LEAST_ROUNDS and spent_s >= LONGEST * job.seconds:
            break
        if made >= ROUNDS and spent_s >= job.seconds and spent_s >= looked_s + job.seconds / LOOKS:
            looked_s = spent_s
            if known_within(_medians(times)) <= KNOWN:
                break
        for place in rng.permutation(len(sizes)):
            rows = sizes[place][0]
            # What ran before has emptied the caches for it: that is no part of its time in a steady state.
            bench.batch(rows)
            times[place].append([bench.batch(rows) for _ in range(BATCHES)])
        made += 1
        longer = spent_s > job.seconds
        _tell("measuring for longer, to be sure" if longer else "measuring", min(1.0, spent_s / job.seconds))
    medians = _medians(times)
    found = tuple(
        size_times(rows, rounds, held_out=held, level=level)
        for (rows, held), rounds, level in zip(sizes, times, levels(medians).T, strict=True)
    )
    return found, _spread(medians), max(0, ROUNDS - made)


def _medians(times: Sequence[Sequence[Sequence[float]]]) -> NDArray[np.float64]:
    """Seconds, (rounds, sizes)."""
    medians: NDArray[np.float64] = np.median(np.array(times), axis=2)
    return medians.T


def _spread(medians: NDArray[np.float64]) -> float:
    """Typical spread of one size over the time: interquartile range over median of `ROUNDS` stretches' medians.

    Stretches, since a round has too few batches of a size to tell a machine that changes from a batch that was unlucky.
    """
    stretches = np.array_split(medians, min(ROUNDS, len(medians)))
    each = np.array([np.median(stretch, axis=0) for stretch in stretches])
    quarter, median, three = np.percentile(each, [25, 50, 75], axis=0)
    return float(np.median((three - quarter) / median))


def _open_loops(bench: Bench, measured: tuple[SizeTimes, ...], job: Job) -> tuple[OpenLoop, ...]:
    if job.open_loop_s <= 0:
        return ()
    found = fit_where_it_holds(measured)
    usable = [size for size in measured if not size.held_out and size.rows <= found.holds_to]
    # The smallest batch at the knee: larger ones cost latency and bring little.
    top = max(size.rows_per_s for size in usable)
    best = min((size for size in usable if size.rows_per_s >= 0.9 * top), key=lambda size: size.rows)
    curve = ServiceCurve(found.a_s, found.b_s, best.rows)
    runs = []
    for number, share in enumerate(SHARES):
        _tell(f"open loop at {share:.0%}", number / len(SHARES))
        runs.append(_open_loop(bench, curve, share * best.rows_per_s, share, job))
    return tuple(runs)


def _open_loop(bench: Bench, curve: ServiceCurve, rate_per_s: float, share: float, job: Job) -> OpenLoop:
    """One-row requests at Poisson moments; the device takes what is due, padded to an allowed size as a worker does."""
    rng = np.random.default_rng(job.seed)
    count = min(MOST_REQUESTS, max(50, round(rate_per_s * job.open_loop_s)))
    due_s = np.cumsum(rng.exponential(1 / rate_per_s, count))
    allowed = allowed_sizes(curve.max_batch)
    for size in allowed:
        bench.batch(size)
    waits = np.empty(count)
    first, began_s = 0, time.perf_counter()
    while first < count:
        now_s = time.perf_counter() - began_s
        if now_s > LONGEST_OPEN * due_s[-1]:
            # The device does not do here what it did back to back: what is known by now says so.
            break
        if due_s[first] > now_s:
            # Close to the moment a sleep would overshoot it.
            time.sleep(max(0.0, due_s[first] - now_s - 0.0002))
            continue
        last = min(int(np.searchsorted(due_s, now_s, side="right")), first + curve.max_batch)
        bench.batch(padded_size(last - first, allowed) if job.emulated is None else last - first)
        waits[first:last] = time.perf_counter() - began_s - due_s[first:last]
        first = last
    foretold = foretold_s(due_s[:first], curve, allowed if job.emulated is None else ())
    (p50, p99), (told50, told99) = np.percentile(waits[:first], [50, 99]), np.percentile(foretold, [50, 99])
    return OpenLoop(
        rate_per_s, share, curve.max_batch, first, float(p50), float(p99), float(told50), float(told99)
    )  # fmt: skip


def foretold_s(due_s: NDArray[np.float64], curve: ServiceCurve, allowed: Sequence[int]) -> NDArray[np.float64]:
    """Seconds from when each request is due to its answer, by the curve alone: the same loop without a device.

    Args:
        due_s: when each is due, ascending, (n,).
        curve: of the device.
        allowed: sizes that batches are padded to; none = they are not.
    """
    waits = np.empty(len(due_s))
    first, now_s = 0, 0.0
    while first < len(due_s):
        now_s = max(now_s, float(due_s[first]))
        last = min(int(np.searchsorted(due_s, now_s, side="right")), first + curve.max_batch)
        now_s += curve.seconds(padded_size(last - first, allowed) if allowed else last - first)
        waits[first:last] = now_s - due_s[first:last]
        first = last
    return waits


def _peak_bytes(process: psutil.Process) -> int:
    import resource  # noqa: PLC0415 - not on every platform

    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, int(process.memory_info().rss))


def _gpu_bytes(device: Device) -> int | None:
    if device.gpu is None:
        return None
    import tensorflow as tf  # noqa: PLC0415 - seconds of import

    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def _tell(stage: str, done: float) -> None:
    sys.stdout.write(json.dumps({"stage": stage, "done": done}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
