"""Scenario files: the shipped one is the default, and what is wrong is named."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import pytest

from autoscaler.simulation.scenario import Scenario
from penstock.simulate.errors import BadInput
from penstock.simulate.scenario_file import parse_scenario, read_scenario
from penstock.simulate.windows import SUITES, window

if TYPE_CHECKING:
    from pathlib import Path


def test_the_shipped_file_is_the_reference_scenario() -> None:
    """Every value of it, and an empty file too."""
    shipped = resources.files("penstock.simulate").joinpath("reference.toml").read_text(encoding="utf-8")
    assert parse_scenario(shipped, "reference.toml") == Scenario()
    assert parse_scenario("", "empty") == Scenario()


def test_a_file_with_two_types_and_a_rate() -> None:
    """What is said is taken, the rest is as in the reference."""
    text = """
    mean_rate = 500
    rebalance = "eager"
    [[worker_type]]
    name = "cpu"
    [[worker_type]]
    name = "gpu"
    a_s = 0.008
    b_s = 0.00025
    max_batch = 128
    price_per_hour = 8
    boot_s = 90
    min = 0
    """
    found = parse_scenario(text, "two")
    assert found.rate_per_s == 500
    assert [kind.name for kind in found.worker_types] == ["cpu", "gpu"]
    assert found.worker_types[1].curve.capacity_per_s == pytest.approx(3200)
    assert (found.worker_types[1].min_workers, found.worker_types[1].max_workers) == (0, 64)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitons = 3", "partitons: unknown key"),
        ("[[worker_type]]\nboots = 3", r"worker_type\.0\.boots: unknown key"),
        ("partitions = 0", "partitions=0: must be 1"),
        ('partitions = "many"', "partitions='many'"),
        ('rebalance = "rolling"', "rebalance='rolling'"),
        ("objective_share = 1.5", r"objective_share=1\.5"),
        ("mean_workers = 8\nmean_rate = 100", "give one of them"),
        ("mean_rate = nan", "mean_rate"),
        ("[[worker_type]]\nmin = 5\nmax = 2", "min_workers=5, max_workers=2"),
        ("[[worker_type]]\nmax_batch = 0", "max_batch=0: must be at least 1 row"),
        ("partitions = ", "is not TOML"),
        ("worker_type = []", "worker_type"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str, tmp_path: Path) -> None:
    """File, field and value; exit code 2."""
    path = tmp_path / "s.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=said) as caught:
        read_scenario(path)
    assert str(path) in caught.value.cause
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Named."""
    with pytest.raises(BadInput, match=r"none\.toml: No such file"):
        read_scenario(tmp_path / "none.toml")


def test_windows_of_traces_need_a_folder_and_unknown_ones_are_named() -> None:
    """A pattern needs none."""
    assert window("constant", Scenario(mean_rate=2.0, mean_workers=None)).length_s == 3600
    with pytest.raises(BadInput, match="no folder of traces"):
        window("nasa", Scenario())
    with pytest.raises(BadInput, match="'nase' is not known"):
        window("nase", Scenario())
    assert len(SUITES["reference"]) == 7


def test_a_window_reads_its_trace_and_scales_it(tmp_path: Path) -> None:
    """azure_code: 2.3 workers where others have 8."""
    rows = "\n".join(f"{second},{20 * (second % 10 < 3)}" for second in range(300))
    (tmp_path / "azure_llm_2023_code.csv").write_text(f"t_seconds,requests\n{rows}\n", encoding="utf-8")
    load = window("azure_code", Scenario(mean_rate=80.0, mean_workers=None), traces=tmp_path)
    assert load.name == "azure_code"
    assert load.arrivals_s.size / load.length_s == pytest.approx(23, rel=0.06)
