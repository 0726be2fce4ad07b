"""Which counts are forecast: a trace at its own or another rate, or a named load."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.simulation.arrivals import of_pattern, of_trace
from autoscaler.simulation.patterns import PATTERNS
from autoscaler.simulation.scenario import Scenario
from penstock.simulate.windows import window
from penstock.trace_file import read_trace

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from autoscaler.simulation.arrivals import Load, Stretch


def recorded(path: Path, stretch: Stretch, *, mean_per_s: float | None, seed: int) -> Load:
    """A stretch of a trace; at its own rate where none is given.

    Raises:
        TraceError: the file cannot be used.
        ValueError: the stretch lies outside the trace or is empty.
    """
    trace = read_trace(path)
    if mean_per_s is None:
        # The mean of the stretch itself: what is not scaled is placed as it was.
        probe = of_trace(trace, dataclasses.replace(Scenario(), mean_workers=None, mean_rate=1.0), stretch, seed=seed)
        mean_per_s = 1.0 / float(str(probe.facts["scale"]))
    return of_trace(trace, dataclasses.replace(Scenario(), mean_workers=None, mean_rate=mean_per_s), stretch, seed=seed)


def named(name: str, *, length_s: float | None, mean_per_s: float | None, seed: int, folder: Path | None) -> Load:
    """A pattern or a window with a name.

    Raises:
        BadInput: there is no such load, or no folder where one is needed.
        TraceError: its trace cannot be read.
        ValueError: the length is not above 0.
    """
    scenario = Scenario()
    if mean_per_s is not None:
        scenario = dataclasses.replace(scenario, mean_workers=None, mean_rate=mean_per_s)
    if name in PATTERNS:
        return of_pattern(PATTERNS[name], scenario, length_s=length_s, seed=seed)
    return window(name, scenario, seed=seed, traces=folder)


def by_second(load: Load) -> NDArray[np.float64]:
    """Arrivals in each whole second of a load."""
    seconds = int(load.length_s)
    return np.bincount(load.arrivals_s.astype(np.int64), minlength=seconds)[:seconds].astype(np.float64)
