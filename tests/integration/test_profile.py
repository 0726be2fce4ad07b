"""`penstock profile` on a real model: what it measures of an emulated device is what that device states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.cli.main import run
from penstock.profile import file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tensorflow


@pytest.mark.timeout(600)
def test_the_curve_of_an_emulated_device_is_found(
    doubling_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It holds each batch for 20 ms + 5 ms a row. Within 15 %: a busy machine wakes sleepers late."""
    out = tmp_path / "profile.json"
    arguments = ["--seconds", "0.5", "--open-loop-seconds", "0", "--max-batch", "8", "--emulated", "20,5,8"]
    code = run(["profile", str(doubling_model), *arguments, "--out", str(out), "--report", str(tmp_path / "report")])
    assert code in (0, 1), capsys.readouterr().err
    found = file.read(out)
    real, emulated = found.settings
    assert (code == 1) == bool(found.setting.doubts)
    assert emulated.fit.a_s == pytest.approx(0.020, rel=0.15)
    assert emulated.fit.b_s == pytest.approx(0.005, rel=0.15)
    assert emulated.fit.holds
    assert real.fit.seconds(8) < emulated.fit.seconds(8)
    assert real.measured.peak_bytes > real.measured.imported_bytes > 50 * 2**20
    assert found.chosen == 0
    assert (tmp_path / "report" / "profile.html").is_file()
