"""Policies against loads, one after the other: what `penstock simulate` does between its options and its output."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from autoscaler.simulation.arrivals import Stretch, of_pattern, of_trace
from autoscaler.simulation.measures import fluid_cost, measure
from autoscaler.simulation.patterns import PATTERNS
from autoscaler.simulation.run import run
from autoscaler.simulation.schedule import SchedulePolicy
from penstock.simulate import policies
from penstock.simulate.bounds import Bounds, bounds
from penstock.simulate.errors import BadInput
from penstock.simulate.rows import row
from penstock.simulate.windows import SUITES, WINDOWS, trace, window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from autoscaler.settings import PolicySettings
    from autoscaler.simulation.arrivals import Load
    from autoscaler.simulation.run import Run
    from autoscaler.simulation.scenario import Scenario
    from penstock.simulate.rows import Row


@dataclass(frozen=True, slots=True)
class Choice:
    """Which loads."""

    traces: tuple[Path, ...] = ()
    #: Patterns, and windows by name.
    names: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    #: Folder of recorded traces.
    folder: Path | None = None
    #: Of traces that are files.
    stretch: Stretch = dataclasses.field(default_factory=Stretch)
    #: Seconds of a pattern, instead of its own.
    pattern_s: float | None = None


class Watcher(Protocol):
    """Is told how far things are."""

    def begin(self, what: str) -> None:
        """Something begins."""

    def at(self, part: float) -> None:
        """A part (0-1) of it is done."""


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """One policy on one load."""

    run: Run
    row: Row
    bounds: Bounds
    #: The schedule that knew the load, run like a policy; `None` = not wanted.
    clairvoyant: Run | None


def study(
    scenario: Scenario,
    choice: Choice,
    names: Sequence[str],
    *,
    settings: PolicySettings | None = None,
    search: bool = True,
    pictures: bool = False,
    watcher: Watcher,
) -> Iterator[Done]:
    """Run every policy on every load.

    Args:
        scenario: The group.
        choice: The loads.
        names: Policies, as on the command line.
        settings: Of `penstock`.
        search: Whether the bounds that take time are searched.
        pictures: Whether the clairvoyant schedule is run as a policy too, to be drawn beside.
        watcher: Is told how far it is.

    Yields:
        Each run, load by load.

    Raises:
        BadInput: something chosen does not exist or makes no sense; raised before anything is run.
        TraceError: a trace cannot be read.
    """
    for text in names:
        if text != policies.CLAIRVOYANT:
            policies.build(text, scenario.objective, settings)
    if policies.CLAIRVOYANT in names and not search:
        raise BadInput("--policy clairvoyant: its schedule is not searched", "leave --no-clairvoyant out")
    for load in _loads(scenario, choice, watcher):
        _check_length(load.name, load.length_s, scenario.warm_up_s)
        found = Bounds(fluid_cost(load, scenario))
        shown = None
        if search:
            watcher.begin(f"{load.name}: clairvoyant")
            found = bounds(load, scenario, watcher.at)
        best = found.clairvoyant or found.unreachable
        if best is not None and (pictures or policies.CLAIRVOYANT in names):
            shown = run(SchedulePolicy(best.schedule), load, scenario)
        cost = found.clairvoyant.cost if found.clairvoyant else None
        for text in names:
            if text == policies.CLAIRVOYANT:
                done = shown
            else:
                watcher.begin(f"{load.name}: {text}")
                policy = policies.build(text, scenario.objective, settings)
                done = run(
                    policy,
                    load,
                    scenario,
                    name=text,
                    stopwatch=time.thread_time,
                    progress=_Part(watcher, load.length_s),
                )
            if done is not None:
                yield Done(done, row(done, measure(done, clairvoyant_cost=cost), found), found, shown)


@dataclass(frozen=True, slots=True)
class _Part:
    """Simulated seconds as a part of the whole."""

    watcher: Watcher
    length_s: float

    def __call__(self, at_s: float) -> None:
        self.watcher.at(at_s / self.length_s)


def _loads(scenario: Scenario, choice: Choice, watcher: Watcher) -> Iterator[Load]:
    names = list(choice.names)
    for suite in choice.suites:
        if suite not in SUITES:
            raise BadInput(f"--suite {suite} is not known", f"use one of: {', '.join(SUITES)}")
        names += [name for name in SUITES[suite] if name not in names]
    _check(names, choice)
    _check_lengths(names, choice, scenario.warm_up_s)
    for path in choice.traces:
        watcher.begin(f"{path.name}: reading")
        try:
            yield of_trace(trace(path), scenario, choice.stretch)
        except ValueError as error:
            raise BadInput(f"--trace {path}: {error}", "see docs/how-to/simulate.md") from error
    for name in names:
        watcher.begin(f"{name}: making")
        if name in PATTERNS and choice.pattern_s is not None:
            try:
                yield of_pattern(PATTERNS[name], scenario, length_s=choice.pattern_s)
            except ValueError as error:
                raise BadInput(f"--pattern {name}: {error}", "give --length in seconds") from error
        else:
            yield window(name, scenario, traces=choice.folder)


def _check(names: Sequence[str], choice: Choice) -> None:
    """What can be known to be wrong before anything is run."""
    made = [name for name in names if name in PATTERNS]
    if made and not choice.traces and dataclasses.replace(choice.stretch, length_s=None) != Stretch():
        raise BadInput(
            f"--pattern {made[0]} is made up: it has no start, no compression and no counts to smooth",
            "leave --start, --compression and --smooth out, or give a --trace",
        )
    for name in names:
        if name not in PATTERNS and name not in WINDOWS:
            raise BadInput(f"load {name!r} is not known", f"use one of: {', '.join([*PATTERNS, *WINDOWS])}")
        if name not in WINDOWS:
            continue
        if choice.stretch != Stretch():
            raise BadInput(
                f"--pattern {name} is a window with a start, a length and a compression of its own",
                f"leave --start, --length, --compression and --smooth out, or give --trace {WINDOWS[name].file}",
            )
        file = WINDOWS[name].file
        if choice.folder is None:
            raise BadInput(
                f"the window {name} needs the trace {file}, and no folder of traces was named",
                "give --traces DIR or set PENSTOCK_TRACES",
            )
        if not (choice.folder / file).is_file():
            raise BadInput(
                f"{choice.folder / file} is not there", f"put the trace of the window {name} into the folder"
            )
    for path in choice.traces:
        if not path.is_file():
            raise BadInput(f"--trace {path}: no such file", "give a readable .csv or .csv.gz file")


def _check_lengths(names: Sequence[str], choice: Choice, warm_up_s: float) -> None:
    """What is known of them without making the loads."""
    if choice.pattern_s is not None and any(name in PATTERNS for name in names):
        _check_length("--length", choice.pattern_s, warm_up_s)
    if choice.stretch.length_s is not None and choice.traces:
        _check_length("--length", choice.stretch.length_s / choice.stretch.compression, warm_up_s)


def _check_length(what: str, length_s: float, warm_up_s: float) -> None:
    if 0 < length_s <= warm_up_s:
        raise BadInput(
            f"{what}: {length_s:g} s are over before the warm-up of {warm_up_s:g} s ends, which counts in nothing",
            "take a longer stretch, or set warm_up_s in the --scenario",
        )
