"""Named loads: patterns, and the reference suite of seven windows, four of them of recorded traces in a folder."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.simulation.arrivals import Load, Stretch, of_pattern, of_trace
from autoscaler.simulation.patterns import PATTERNS
from penstock.simulate.errors import BadInput
from penstock.trace_file import read_trace

if TYPE_CHECKING:
    from pathlib import Path

    from autoscaler.simulation.scenario import Scenario
    from autoscaler.simulation.trace import Trace

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a recorded trace with a name."""

    name: str
    #: File in the folder of traces.
    file: str
    stretch: Stretch
    #: The scenario's mean load times this: bursts must fit under the largest fleet.
    load: float = 1.0


WINDOWS: dict[str, Window] = {
    window.name: window
    for window in (
        Window("azure_conv", "azure_llm_2023_conv.csv", Stretch()),
        # On and off: its highest ten seconds are 13 times its mean, which is 2.3 workers where others have 8.
        Window("azure_code", "azure_llm_2023_code.csv", Stretch(), load=2.3 / 8),
        Window("nasa", "nasa_http_1995_jul.csv.gz", Stretch(12 * DAY_S, 2 * DAY_S, compression=8.0)),
        Window("servegen", "servegen_m_small.csv", Stretch(11 * DAY_S, DAY_S, compression=8.0)),
    )
}

#: Suites by name.
SUITES: dict[str, tuple[str, ...]] = {
    "reference": ("constant", "step5", "sawtooth6", "azure_conv", "azure_code", "nasa", "servegen"),
}


def window(name: str, scenario: Scenario, *, seed: int | None = None, traces: Path | None = None) -> Load:
    """The load of a pattern or of a named window.

    Args:
        name: A key of `PATTERNS` or `WINDOWS`.
        scenario: Rate, partitions, skew, seed.
        seed: Instead of the scenario's.
        traces: Folder with the recorded traces.

    Raises:
        BadInput: there is no such load, or no folder where one is needed.
        TraceError: the trace cannot be read.
    """
    if name in PATTERNS:
        return of_pattern(PATTERNS[name], scenario, seed=seed)
    if name not in WINDOWS:
        raise BadInput(f"load {name!r} is not known", f"use one of: {', '.join([*PATTERNS, *WINDOWS])}")
    chosen = WINDOWS[name]
    if traces is None:
        raise BadInput(
            f"the window {name} needs the trace {chosen.file}, and no folder of traces was named",
            "give --traces DIR or set PENSTOCK_TRACES",
        )
    scaled = dataclasses.replace(
        scenario,
        mean_workers=None if scenario.mean_workers is None else scenario.mean_workers * chosen.load,
        mean_rate=None if scenario.mean_rate is None else scenario.mean_rate * chosen.load,
    )
    return of_trace(trace(traces / chosen.file), scaled, chosen.stretch, seed=seed, name=name)


@functools.cache
def trace(path: Path) -> Trace:
    """A trace file, read once: a month of seconds takes a while.

    Raises:
        TraceError: it cannot be read.
    """
    return read_trace(path)
