"""`penstock analyse` on files: what it says, and that nonsense costs one line and writes nothing."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from penstock.analyse.analysis import analyse
from penstock.analyse.source import Records, from_file, save
from penstock.cli.main import run
from penstock.trace_file import read_trace

if TYPE_CHECKING:
    from pathlib import Path


def _trace(path: Path, counts: list[int]) -> Path:
    path.write_text("t_seconds,requests\n" + "".join(f"{i},{n}\n" for i, n in enumerate(counts)), encoding="utf-8")
    return path


def test_a_report_holds_the_figures_and_fetches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report holds the figures and fetches nothing."""
    counts = np.random.default_rng(1).poisson(5, 600).tolist()
    trace = _trace(tmp_path / "load.csv", counts)
    assert run(["analyse", str(trace), "--report", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["requests"] == sum(counts)
    assert told["mean_per_s"] == pytest.approx(sum(counts) / 600)
    assert told["sizes"] is told["skew"] is told["starts_at"] is None
    assert json.loads((tmp_path / "out" / "workload.json").read_text(encoding="utf-8")) == told
    page = (tmp_path / "out" / "workload.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 2
    assert "src=" not in page
    assert 'href="http' not in page.replace("http://www.w3.org", "")
    assert (tmp_path / "out" / "workload.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("t_seconds,hits\n0,1\n1,2\n", "unknown column 'hits'"),
        ("", "header ''"),
        ("t_seconds,requests\n0,0\n1,0\n", "no request"),
        ("t_seconds,requests\n", "0 data line"),
        ("t_seconds,requests\n0,-4\n1,2\n", "requests=-4"),
        ("t_seconds,partition,bytes\n", "no record"),
        ("t_seconds,partition,bytes\n1,x,3\n", "line 2"),
        ("t_seconds,partition,bytes\n1,-1,3\n", "line 2"),
        ("t_seconds,partition,bytes\n1,99999999999999999999,3\n", "line 2"),
        ("t_seconds,partition,bytes\n1,2,99999999999999999999\n", "line 2"),
        ("t_seconds,partition,bytes\n1,2," + "9" * 140_000 + "\n", "line 2"),
        ("t_seconds,requests\n0,1\n1,2\n2,3,4\n", "line 4"),
    ],
)
def test_nonsense_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, names: str
) -> None:
    """Nonsense is one line and code 2, and nothing is written."""
    trace = tmp_path / "bad.csv"
    trace.write_text(text, encoding="utf-8")
    assert run(["analyse", str(trace), "--report", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert names in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--bin", "-1"], ["--since", "yesterday"], ["--nonsense"], ["missing.csv"]])
def test_a_wrong_command_line_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """A wrong command line is one line and code 2."""
    assert run(["analyse", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_records_survive_being_saved_and_read(tmp_path: Path) -> None:
    """Saved records give the same figures when read again."""
    rng = np.random.default_rng(2)
    at_ms = 1_700_000_000_000 + np.sort(rng.integers(0, 60_000, 500))
    records = Records(at_ms, rng.integers(0, 4, 500), rng.integers(100, 300, 500))
    save(tmp_path / "records.csv.gz", records)
    first_line = gzip.decompress((tmp_path / "records.csv.gz").read_bytes()).decode().splitlines()[0]
    assert first_line == "t_seconds,partition,bytes"
    found = analyse(from_file(tmp_path / "records.csv.gz"))
    assert found.requests == 500
    assert found.sizes is not None
    assert found.sizes.mean == pytest.approx(records.size.mean())
    assert found.skew is not None
    assert found.skew.partitions == 4


def test_the_gaps_beside_a_trace_are_named(tmp_path: Path) -> None:
    """The gaps beside a trace are named, and do not lower the mean."""
    trace = _trace(tmp_path / "load.csv", [4] * 50 + [0] * 10 + [4] * 40)
    (tmp_path / "load.gaps.csv").write_text("gap_start_s,gap_len_s\n50,10\n", encoding="utf-8")
    found = analyse(from_file(trace))
    assert found.gaps == ((50.0, 10.0),)
    assert found.mean_per_s == 4.0


def test_a_line_left_out_makes_its_bin_wider_and_is_no_gap(tmp_path: Path) -> None:
    """As in the simulator; whole requests are spread over the bin, and it is told."""
    path = tmp_path / "sparse.csv"
    path.write_text("t_seconds,requests\n0,4\n1,5\n4,1\n6,2\n", encoding="utf-8")
    found = from_file(path)
    assert found.workload.counts.tolist() == [4, 2, 2, 1, 1, 0, 1, 1]
    assert found.workload.known.all()
    assert analyse(found).mean_per_s == read_trace(path).counts.sum() / read_trace(path).widths_s.sum()
    assert "3 bins are wider than 1 s, up to 3 s" in found.notes[0]
    assert "sparse.gaps.csv" in found.notes[0]
