"""What is trained on: scikit-learn's real handwritten digits, or an `.npz` file of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Share that is never trained on.
HELD_OUT = 0.3
#: Fewest pictures, and classes, that can be split and told apart.
FEWEST, CLASSES = 20, 2
#: Smallest side that the network's one pooling leaves something of.
SMALLEST = 4


@dataclass(frozen=True, slots=True)
class Data:
    """Pictures, FP32 (n, height, width, channels), from 0 to 1; labels, 0 to classes - 1."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    held_images: NDArray[np.float32]
    held_labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(max(self.labels.max(), self.held_labels.max())) + 1


def digits(seed: int) -> Data:
    """The 1,797 digits of 8 x 8 that scikit-learn ships, split with each class in its share."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second

    found = load_digits()
    # Grey values run from 0 to 16.
    return _split((found.images / 16.0).astype(np.float32)[..., None], found.target.astype(np.int64), seed)


def from_file(path: Path, seed: int) -> Data:
    """Pictures `images` (n, height, width[, channels]) and `labels` (n,) of an `.npz` file.

    Whole numbers are taken for 0 to their type's largest (255 for bytes); floats must lie between 0 and 1.

    Raises:
        InvalidInput: the file cannot be read, or an array is not what it must be.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: {error}", "give an .npz file with images and labels") from error
    if found.keys() != {"images", "labels"}:
        raise InvalidInput(f"{path} holds {', '.join(sorted(found)) or 'nothing'}", "name the arrays images and labels")
    return _split(_images(path, found["images"]), _labels(path, found["labels"], len(found["images"])), seed)


def _images(path: Path, images: NDArray[Any]) -> NDArray[np.float32]:
    if images.ndim == 3:  # noqa: PLR2004 - grey pictures
        images = images[..., None]
    if images.ndim != 4 or min(images.shape[1:3]) < SMALLEST or len(images) < FEWEST:  # noqa: PLR2004 - see below
        raise InvalidInput(
            f"{path}: images {list(images.shape)}",
            f"give {FEWEST} or more as (n, height, width[, channels]), sides of {SMALLEST} or more",
        )
    if np.issubdtype(images.dtype, np.integer):
        images = images / np.iinfo(images.dtype).max
    elif not np.issubdtype(images.dtype, np.floating):
        raise InvalidInput(f"{path}: images are {images.dtype}", "give numbers")
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise InvalidInput(f"{path}: images from {images.min():g} to {images.max():g}", "scale them to 0 to 1")
    return images.astype(np.float32)


def _labels(path: Path, labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidInput(f"{path}: labels {labels.dtype} {list(labels.shape)}", f"give {count} whole numbers")
    found, counts = np.unique(labels, return_counts=True)
    if found.tolist() != list(range(len(found))) or len(found) < CLASSES or counts.min() < 4:  # noqa: PLR2004 - to split
        raise InvalidInput(
            f"{path}: labels {found[:12].tolist()}",
            f"number {CLASSES} or more classes from 0 on, four pictures or more each",
        )
    return labels.astype(np.int64)


def _split(images: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> Data:
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - takes a second

    split = train_test_split(images, labels, test_size=HELD_OUT, random_state=seed, stratify=labels)
    train_images, held_images, train_labels, held_labels = split
    return Data(train_images, train_labels, held_images, held_labels)
