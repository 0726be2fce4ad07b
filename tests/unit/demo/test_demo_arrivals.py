"""The demo's arrivals: the generated pattern and recorded traces."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation.trace import Trace
from penstock.demo.arrivals import generated, phase_bounds, rate_per_s
from penstock.demo.trace import replay
from penstock.errors import TraceError
from penstock.trace_file import gaps_path, read_trace

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, *rows: str, header: str = "t_seconds,requests") -> Path:
    """A trace file of these rows."""
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def trace_of(counts: list[int], width_s: float = 1.0) -> Trace:
    """A trace without gaps."""
    starts = np.arange(len(counts), dtype=np.float64) * width_s
    return Trace("t.csv", starts, np.full(len(counts), width_s), np.array(counts), 0.0)


def test_generated_pattern_has_a_fourfold_step_and_returns_to_quiet() -> None:
    """The rate curve jumps by 4 at the end of the ramp and ends where it began."""
    _, _, ramp_end = phase_bounds(150)[1]
    at = np.array([0.0, ramp_end - 1e-9, ramp_end, 150.0])
    assert rate_per_s(at, 150, 160).tolist() == pytest.approx([20, 40, 160, 20])


def test_generated_counts_follow_the_curve() -> None:
    """Over many seeds the mean count of the step is its rate times its length, within four standard errors."""
    _, start, end = phase_bounds(60)[2]
    counts = [
        ((t := generated(60, peak_per_s=100, seed=s).times_s) >= start).sum() - (t >= end).sum() for s in range(50)
    ]
    expected = 100 * (end - start)
    assert abs(np.mean(counts) - expected) < 4 * np.sqrt(expected / 50)


def test_same_seed_same_arrivals() -> None:
    """A seed fixes the times; another seed gives others."""
    first, again, other = (generated(20, peak_per_s=50, seed=seed).times_s for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@given(counts=st.lists(st.integers(0, 200), min_size=2, max_size=80), duration=st.floats(1, 30), seed=st.integers(0, 9))
def test_replay_never_invents_requests(counts: list[int], duration: float, seed: int) -> None:
    """A replay has at most the recorded requests, sorted, inside the run."""
    trace = trace_of(counts)
    if not any(counts):
        with pytest.raises(TraceError, match="no requests"):
            replay(trace, duration, mean_per_s=20, peak_per_s=60, seed=seed)
        return
    try:
        arrivals = replay(trace, duration, mean_per_s=20, peak_per_s=60, seed=seed)
    except TraceError:
        return
    assert len(arrivals.times_s) <= sum(counts)
    assert (np.diff(arrivals.times_s) >= 0).all()
    assert not len(arrivals.times_s) or 0 <= arrivals.times_s[0] <= arrivals.times_s[-1] < duration


def test_dense_trace_is_thinned_to_the_wanted_mean() -> None:
    """1000 requests a second thinned to 50 a second over 40 s keep about 2000."""
    arrivals = replay(trace_of([1000] * 100), 40, mean_per_s=50, peak_per_s=200, seed=3)
    assert arrivals.facts["time_scale"] == 1.0
    assert len(arrivals.times_s) == pytest.approx(2000, abs=4 * 2000**0.5)


def test_sparse_trace_is_compressed_and_no_request_dropped() -> None:
    """2 requests a second reach 50 a second by 25 recorded seconds in one, with every request kept."""
    arrivals = replay(trace_of([2] * 1000), 20, mean_per_s=50, peak_per_s=200, seed=3)
    assert arrivals.facts["time_scale"] == pytest.approx(25)
    assert len(arrivals.times_s) == 1000


def test_peak_is_kept_within_what_the_fleet_can_carry() -> None:
    """A flash crowd is thinned by its peak, not by its mean."""
    arrivals = replay(trace_of([1] * 30 + [1000] * 10 + [1] * 20), 60, mean_per_s=300, peak_per_s=100, seed=3)
    assert arrivals.per_bin(5).max() / 5 == pytest.approx(100, rel=0.2)


def test_given_time_scale_is_used() -> None:
    """A person's time scale wins over the computed one."""
    arrivals = replay(trace_of([4] * 100), 10, mean_per_s=50, peak_per_s=200, seed=3, time_scale=2.0)
    assert len(arrivals.times_s) == 80


def test_bins_of_any_width_and_start(tmp_path: Path) -> None:
    """Widths are the distances between lines; the start cuts a bin in proportion."""
    trace = read_trace(write(tmp_path / "t.csv", "0,10", "10,100", "40,0", "50,0"))
    assert trace.widths_s.tolist() == [10, 30, 10, 10]
    arrivals = replay(trace, 10, mean_per_s=1e3, peak_per_s=1e3, seed=1, start_s=10, time_scale=1)
    assert len(arrivals.times_s) == pytest.approx(33, abs=20)


def test_gzip_and_byte_order_mark_are_read(tmp_path: Path) -> None:
    """A packed file and one saved by a spreadsheet read as the plain one."""
    plain = read_trace(write(tmp_path / "a.csv", "0,1", "1,2"))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbft_seconds,requests\r\n0,1\r\n1,2\r\n"))
    assert read_trace(tmp_path / "b.csv.gz").counts.tolist() == plain.counts.tolist()


def test_recording_gaps_are_cut_out(tmp_path: Path) -> None:
    """A bin that touches a gap is no silence: it is left out and the time axis joined."""
    path = write(tmp_path / "t.csv", "0,5", "1,0", "2,0", "3,5")
    write(gaps_path(path), "1,2", header="gap_start_s,gap_len_s")
    trace = read_trace(path)
    assert trace.counts.tolist() == [5, 5]
    assert trace.gap_s == 2
    assert trace.edges_s.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["0,1", "1,x"], r"line 3: requests='x'"),
        (["0,1", "1"], r"line 3: 1 value"),
        (["0,1", "1,2,3"], r"line 3: 3 value"),
        (["0,1", "1,-2"], r"line 3: requests=-2"),
        (["0,1", "1,2.5"], r"line 3: requests=2\.5"),
        (["0,1", "1,nan"], r"line 3: requests='nan'"),
        (["0,1", "1,inf"], r"line 3: requests='inf'"),
        (["0,1", "2,1", "", "2,1"], r"line 5: t_seconds=2 is not after"),
        (["-1,1", "2,1"], r"line 2: t_seconds=-1"),
        (["0,1"], r"1 data line"),
        ([], r"0 data line"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, rows: list[str], said: str) -> None:
    """Each malformed line is refused with file, line and value."""
    path = write(tmp_path / "t.csv", *rows)
    with pytest.raises(TraceError, match=said) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)
    assert caught.value.cure


@pytest.mark.parametrize("name", ["absent.csv", "half.csv.gz", "latin.csv", "header.csv", "empty.csv"])
def test_unusable_files_are_refused(tmp_path: Path, name: str) -> None:
    """A missing, cut, non-text, wrongly headed or empty file is one clear error."""
    (tmp_path / "half.csv.gz").write_bytes(gzip.compress(b"t_seconds,requests\n0,1\n1,2\n")[:-6])
    (tmp_path / "latin.csv").write_bytes(b"t_seconds,requests\n0,\xff\n")
    write(tmp_path / "header.csv", "0,1", header="time,count")
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(TraceError, match=name):
        read_trace(tmp_path / name)


@pytest.mark.parametrize("start_s", [-1.0, 10.0, 1e9])
def test_start_outside_the_trace_is_refused(start_s: float) -> None:
    """A start before 0 or behind the last bin says where the trace runs."""
    with pytest.raises(TraceError, match="runs from 0 to 10 s"):
        replay(trace_of([1] * 10), 5, mean_per_s=5, peak_per_s=9, seed=1, start_s=start_s)
