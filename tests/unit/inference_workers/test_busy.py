"""How busy a device has been lately."""

from __future__ import annotations

import pytest

from inference_workers.busy import WINDOW_S, BusyShare


def test_it_looks_back_over_its_window_only() -> None:
    """Half busy, then idle, then busy all the time; nothing is said before there is enough to say it of."""
    share = BusyShare()
    busy_s = 0.0
    said = []
    for second in range(60):
        said.append(share.update(float(second), busy_s))
        busy_s += 0.5 if second < 20 else 0.0 if second < 40 else 1.0
    assert said[: int(WINDOW_S / 2)] == [None] * int(WINDOW_S / 2)
    assert said[19] == pytest.approx(0.5)
    assert said[39] == 0.0
    assert said[59] == pytest.approx(1.0)
