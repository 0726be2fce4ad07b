"""A recorded trace as the demo's arrivals: a stretch is chosen, its time compressed, its requests thinned.

Counts are never multiplied: that would multiply their index of dispersion and make a load that nobody recorded. A
sparse trace is compressed in time, a dense one is thinned (each request is kept with the same chance).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from penstock.demo.arrivals import Arrivals
from penstock.errors import TraceError

if TYPE_CHECKING:
    from autoscaler.simulation.trace import Numbers, Trace

#: A bin lasts at most this long in the demo, in seconds: wide bins are compressed until the demo shows their changes.
BIN_IN_DEMO_S = 1.0

#: Window over which the peak is taken when the load is fitted to the fleet, in demo seconds: shorter bursts are the
#: backlog's business.
PEAK_WINDOW_S = 2.0


def replay(
    trace: Trace,
    duration_s: float,
    *,
    mean_per_s: float,
    peak_per_s: float,
    seed: int,
    start_s: float = 0.0,
    time_scale: float | None = None,
) -> Arrivals:
    """A stretch of the trace as arrivals over `duration_s` seconds.

    Args:
        trace: what was recorded.
        duration_s: length of the load, in demo seconds.
        mean_per_s: highest mean rate wanted, requests a demo second.
        peak_per_s: highest rate wanted over `PEAK_WINDOW_S`, requests a demo second.
        seed: of the thinning and of the places inside the bins.
        start_s: where the stretch starts, in recorded seconds since the start of the trace.
        time_scale: recorded seconds in one demo second; `None` = chosen so that the load suits the fleet. Lowered where
            the trace ends before the demo does.

    Raises:
        TraceError: nothing is left of the trace after `start_s`, or the stretch is empty.
    """
    edges = trace.edges_s
    if not 0 <= start_s < trace.end_s:
        cause = f"trace start {start_s:g} s: {trace.name} runs from 0 to {trace.end_s:g} s"
        raise TraceError(cause, "choose a start inside it")
    if time_scale is not None and not time_scale > 0:
        raise TraceError(f"time scale {time_scale:g}", "give recorded seconds a demo second, above 0")
    first = int(np.searchsorted(trace.starts_s + trace.widths_s, start_s, side="right"))
    begin = float(edges[first] + max(0.0, start_s - trace.starts_s[first]))
    left_s = float(edges[-1]) - begin
    wanted = _time_scale(trace, begin, left_s, duration_s, mean_per_s) if time_scale is None else time_scale
    scale = min(wanted, left_s / duration_s)
    stop = begin + scale * duration_s
    bins = slice(first, int(np.searchsorted(edges[:-1], stop, side="left")))
    edges = edges[bins.start : bins.stop + 1]
    low, high = np.maximum(edges[:-1], begin), np.minimum(edges[1:], stop)
    share = (high - low) / trace.widths_s[bins]
    expected = trace.counts[bins] * share
    if expected.sum() <= 0:
        cause = f"{trace.name}: no requests in the {scale * duration_s:g} s after {start_s:g} s"
        raise TraceError(cause, "choose another start or a larger time scale")
    mean, peak = float(expected.sum()) / duration_s, _peak(edges, expected, begin, stop, scale)
    kept = min(1.0, mean_per_s / mean, peak_per_s / peak)
    rng = np.random.default_rng(seed)
    # Thinning the counts before they are placed is the same law as placing all and thinning those, with less work.
    drawn = rng.binomial(trace.counts[bins], np.clip(share * kept, 0.0, 1.0))
    places = rng.uniform(np.repeat(low, drawn), np.repeat(high, drawn))
    times = np.clip(np.sort((places - begin) / scale), 0.0, np.nextafter(duration_s, 0.0))
    gaps = f"; recording gaps ({trace.gap_s:g} s in the file) cut out" if trace.gap_s else ""
    thinned = "every request kept" if kept == 1 else f"{100 * kept:.4g} % of its requests kept (thinned)"
    return Arrivals(
        times_s=times,
        duration_s=duration_s,
        kind="trace",
        description=(
            f"trace {trace.name}: {scale * duration_s:g} recorded seconds from {start_s:g} s on, {scale:.4g} of them "
            f"in one second, {thinned}, uniform inside bins (seed {seed}){gaps}"
        ),
        facts={
            "trace": trace.name,
            "trace_start_s": start_s,
            "trace_length_s": scale * duration_s,
            "time_scale": scale,
            "kept_share": kept,
            "recording_gaps_s": trace.gap_s,
            "seed": seed,
        },
    )


def _time_scale(trace: Trace, begin: float, left_s: float, duration_s: float, mean_per_s: float) -> float:
    """Recorded seconds in one demo second: narrow enough bins, and sparse traces at the wanted rate."""
    edges = trace.edges_s
    cumulative = np.concatenate(([0.0], np.cumsum(trace.counts)))
    target = float(np.interp(begin, edges, cumulative)) + mean_per_s * duration_s
    if target >= cumulative[-1]:
        return left_s / duration_s
    # Where the running count first reaches what the demo wants to send.
    reached = float(np.interp(target, cumulative, edges))
    return max(1.0, float(np.median(trace.widths_s)) / BIN_IN_DEMO_S, (reached - begin) / duration_s)


def _peak(edges: Numbers, expected: Numbers, begin: float, stop: float, scale: float) -> float:
    """Highest rate over `PEAK_WINDOW_S` demo seconds, requests a demo second."""
    cumulative = np.concatenate(([0.0], np.cumsum(expected)))
    window = min(PEAK_WINDOW_S * scale, stop - begin)
    starts = np.linspace(begin, stop - window, 500)
    counts = np.interp(starts + window, edges, cumulative) - np.interp(starts, edges, cumulative)
    return float(counts.max()) / (window / scale)
