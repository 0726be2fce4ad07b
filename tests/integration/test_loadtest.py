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
    """60 ms + 5 ms a row, at most 8 rows: 80 a second.

    Within 15 %, here: a busy machine wakes sleepers late and sends late; a quiet one is within 3 %.
    """
    with served.config.open("a", encoding="utf-8") as config:
        config.write(
            '[[worker_types]]\nname = "cpu"\ndevice = "emulated"\n'
            "[worker_types.curve]\na_s = 0.06\nb_s = 0.005\nmax_batch = 8\n"
        )
    served.start(f"{served.name}-cpu-0")
    served.wait_ready(f"{served.name}-cpu-0")
    asked = tmp_path / "asked.npz"
    np.savez(asked, x=np.ones((3, 4), np.float32))
    arguments = ["--config", str(served.config), "--from", "30", "--to", "160", "--steps", "3", "--seconds", "5"]
    assert run(["loadtest", *arguments, "--input", str(asked), "--json", "--report", str(tmp_path / "report")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stated_per_s"] == pytest.approx(80)
    assert found["knee"]["per_s"] == pytest.approx(80, rel=0.15)
    assert found["knee"]["low"] <= found["knee"]["per_s"] <= found["knee"]["high"]
    assert found["steps"][0]["overloaded"] is False
    assert found["steps"][-1]["overloaded"] is True
    assert found["unanswered"] == 0
    assert (tmp_path / "report" / "loadtest.png").stat().st_size > 5000
