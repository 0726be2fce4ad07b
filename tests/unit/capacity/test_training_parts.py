"""Training: what its data may be, what nvidia-smi says, what a process takes, and nonsense in one line."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from penstock.cli.main import run
from penstock.train.data import digits, from_file
from penstock.train.resources import ResourceWatch, Sample, parse_gpus, used

if TYPE_CHECKING:
    from pathlib import Path


def test_the_digits_are_split_with_each_class_in_its_share() -> None:
    """The digits are split with each class in its share, and no picture is in both parts."""
    found = digits(seed=0)
    assert (len(found.images), len(found.held_images), found.classes) == (1257, 540, 10)
    assert found.images.shape[1:] == (8, 8, 1)
    assert 0 <= found.images.min() < found.images.max() == 1
    assert np.bincount(found.held_labels).min() >= 52
    mine = {picture.tobytes() for picture in found.images}
    assert sum(picture.tobytes() in mine for picture in found.held_images) == 0


def test_bytes_are_taken_for_0_to_255(tmp_path: Path) -> None:
    """Bytes are taken for 0 to 255, and grey pictures get their channel."""
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(40) % 2)
    found = from_file(tmp_path / "own.npz", seed=1)
    assert found.images.shape[1:] == (6, 6, 1)
    assert found.images.dtype == np.float32
    assert found.images.max() <= 1
    assert found.classes == 2


@pytest.mark.parametrize(
    "arrays",
    [
        {"pictures": np.zeros((40, 6, 6))},
        {"images": np.zeros((40, 6)), "labels": np.arange(40) % 2},
        {"images": np.zeros((40, 2, 2)), "labels": np.arange(40) % 2},
        {"images": np.full((40, 6, 6), 7.0), "labels": np.arange(40) % 2},
        {"images": np.full((40, 6, 6), np.nan), "labels": np.arange(40) % 2},
        {"images": np.zeros((40, 6, 6)), "labels": np.zeros(40, dtype=int)},
        {"images": np.zeros((40, 6, 6)), "labels": np.arange(40) % 2 + 1},
        {"images": np.zeros((40, 6, 6)), "labels": np.arange(39) % 2},
        {"images": np.zeros((40, 6, 6)), "labels": np.arange(40) / 40},
    ],
)
def test_data_that_cannot_be_trained_on_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, np.ndarray]
) -> None:
    """Data that cannot be trained on is one line and code 2, and nothing is made."""
    np.savez(tmp_path / "own.npz", **arrays)
    assert run(["train", "digits", "--data", str(tmp_path / "own.npz"), "--to", str(tmp_path / "made")]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--data", "none.npz"], ["--device", "tpu"]])
def test_a_wrong_command_line_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """A wrong command line is one line and code 2."""
    assert run(["train", "digits", *arguments]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_the_busiest_gpu_counts_and_none_is_not_0() -> None:
    """The busiest GPU counts, and none is not 0."""
    assert parse_gpus("12, 400\n97, 8000\n") == (97.0, 8000 * 2**20)
    assert parse_gpus("") == (None, None)
    assert parse_gpus("[N/A], [N/A]\n") == (None, None)


def test_what_a_process_takes_is_seen() -> None:
    """A process that computes for a second is seen to use a good part of a core; waiting is not counted as use."""
    with ResourceWatch(os.getpid()) as watch:
        until = time.monotonic() + 30
        while len(watch.samples) < 2 and time.monotonic() < until:
            sum(range(10_000))
    found = used(watch.samples, peak_bytes=0)
    assert found is not None
    assert found.cpu_percent_peak > 1
    assert found.peak_bytes > 10 * 2**20
    assert used([], peak_bytes=5) is None
    means = used([Sample(1, 50, 10, 20, 7), Sample(2, 150, 30, 40, 9)], peak_bytes=20)
    assert means is not None
    assert (means.cpu_percent_mean, means.cpu_percent_peak, means.peak_bytes) == (100, 150, 30)
    assert (means.gpu_percent_mean, means.gpu_bytes_peak) == (30, 9)
