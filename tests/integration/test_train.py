"""A training that is killed goes on where it was, and what it makes can be served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference_workers.model_versions import newest_version
from penstock.cli.main import run
from penstock.errors import InvalidInput
from penstock.train.run import new_job, train

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.train.job import Epoch

#: So many that the second is far from the last when the process is killed, in epochs of some 50 ms.
EPOCHS = 60

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(600)]


def test_a_killed_training_goes_on_and_exports_the_next_version(tmp_path: Path) -> None:
    """Stopped in its second epoch it does the rest only; with other settings it is not gone on with."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    images = np.clip(rng.normal(0.3, 0.1, (200, 6, 6)) + 0.4 * labels[:, None, None], 0, 1).astype(np.float32)
    data, to = tmp_path / "own.npz", tmp_path / "models" / "own"
    np.savez(data, images=images, labels=labels)
    given = {"data": data, "to": to, "batch": 16, "seed": 1, "device": "cpu", "restart": False}

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(new_job(epochs=EPOCHS, **given), stop)
    assert not (to / "1").exists()
    with pytest.raises(InvalidInput, match="unfinished"):
        new_job(epochs=EPOCHS + 1, **given)
    assert run(["train", "digits", "--data", str(data), "--to", str(to), "--epochs", "5", "--batch", "16"]) == 2

    told: list[int] = []
    found = train(new_job(epochs=EPOCHS, **given), lambda epoch: told.append(epoch.number))

    assert 2 <= found.trained.resumed_at < EPOCHS
    assert [epoch.number for epoch in found.epochs] == list(range(1, EPOCHS + 1))
    assert told == list(range(1, EPOCHS + 1))
    assert found.trained.accuracy > 0.9
    assert found.used is None or found.used.peak_bytes > 100 * 2**20
    assert newest_version(to).name == "1"
    assert (to / "1" / "saved_model.pb").is_file()
    assert not (to / ".training").exists()
    assert new_job(epochs=EPOCHS, **given).export.endswith("/2")
