"""`penstock loadtest` against a live worker on an emulated device: its knee is the device's stated capacity."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from penstock.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.services, pytest.mark.tensorflow, pytest.mark.timeout(600)]


def test_the_knee_of_an_emulated_device_is_its_capacity(
    served: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """250 ms + 20 ms a row, at most 8 rows: 19.5 a second. So slow that what a busy machine adds to a batch is little.

    Within 15 %: 7.5 seconds of the step hold 18 batches, and one more or less is 5 %.
    """
    with served.config.open("a", encoding="utf-8") as config:
        config.write(
            '[[worker_types]]\nname = "cpu"\ndevice = "emulated"\n'
            "[worker_types.curve]\na_s = 0.25\nb_s = 0.02\nmax_batch = 8\n"
        )
    served.start(f"{served.name}-cpu-0")
    served.wait_ready(f"{served.name}-cpu-0")
    asked = tmp_path / "asked.npz"
    np.savez(asked, x=np.ones((3, 4), np.float32))
    arguments = ["--config", str(served.config), "--from", "8", "--to", "40", "--steps", "3", "--seconds", "10"]
    assert run(["loadtest", *arguments, "--input", str(asked), "--json", "--report", str(tmp_path / "report")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stated_per_s"] == pytest.approx(8 / 0.41)
    assert found["knee"]["per_s"] == pytest.approx(8 / 0.41, rel=0.15)
    assert found["knee"]["low"] <= found["knee"]["per_s"] <= found["knee"]["high"]
    assert found["steps"][0]["overloaded"] is False
    assert found["steps"][-1]["overloaded"] is True
    assert found["unanswered"] == 0
    assert (tmp_path / "report" / "loadtest.png").stat().st_size > 5000
