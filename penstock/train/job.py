"""What a training is asked, and what it says of each epoch: values that travel as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """One training."""

    #: `.npz` file of the user's; `None` = the handwritten digits.
    data: str | None
    #: Of its bytes, so that an unfinished training does not go on with other data.
    data_digest: str
    epochs: int
    batch: int
    seed: int
    device: str
    #: Where an unfinished training keeps what it has.
    state: str
    #: The version's folder that is to be made.
    export: str

    @property
    def identity(self) -> dict[str, object]:
        """What must be the same for an unfinished training to be gone on with."""
        return {name: getattr(self, name) for name in ("data_digest", "epochs", "batch", "seed")}


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training pictures; the held-out figures are of its end."""

    number: int
    loss: float
    accuracy: float
    held_loss: float
    held_accuracy: float
    #: Of the pass and of the look at the held-out pictures.
    seconds: float
    #: Pictures trained on in one of those seconds.
    records_per_s: float


@dataclass(frozen=True, slots=True)
class Trained:
    """The end of it."""

    trained_on: int
    held_out: int
    classes: int
    #: Of the exported model itself, on pictures it has never seen.
    accuracy: float
    #: Epochs that an earlier, unfinished run had done.
    resumed_at: int
    peak_bytes: int
    gpu_peak_bytes: int | None
    devices: tuple[str, ...]
