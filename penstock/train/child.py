"""The training process: `python -m penstock.train.child JOB`; tells each epoch and its end as lines of JSON.

What it has is kept after each epoch (weights, optimiser, epoch) in a checkpoint that counts only when it is whole;
killed at any moment and started again it goes on from the last one. Keras' own BackupAndRestore is not used: killed
while it writes, it leaves a file that cannot be read. The model is exported beside its place and moved there as a
whole.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from autoscaler.whole_file import write_whole
from penstock.demo.train_digits import LEARNING_RATE
from penstock.train import data as pictures
from penstock.train.job import Epoch, Job, Trained

if TYPE_CHECKING:
    from collections.abc import Callable

#: Names of the model's one input and output.
INPUT, OUTPUT = "image", "probabilities"


def main(text: str) -> None:
    """Do the job that `text` holds as JSON."""
    job = TypeAdapter(Job).validate_json(text)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if job.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow as tf  # noqa: PLC0415 - after the environment is set

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # noqa: FBT003 - TensorFlow's own signature
    tf.keras.utils.set_random_seed(job.seed)
    found = pictures.digits(job.seed) if job.data is None else pictures.from_file(Path(job.data), job.seed)
    state = Path(job.state)
    model = _network(tf, found.images.shape[1:], found.classes, job, len(found.images))
    feed = tf.data.Dataset.from_tensor_slices((found.images, found.labels))
    feed = feed.shuffle(len(found.images), seed=job.seed).batch(job.batch).prefetch(tf.data.AUTOTUNE)
    held = tf.data.Dataset.from_tensor_slices((found.held_images, found.held_labels)).batch(job.batch)
    epoch = tf.Variable(0, dtype=tf.int64)
    model.optimizer.build(model.trainable_variables)
    kept = tf.train.Checkpoint(model=model, optimizer=model.optimizer, epoch=epoch)
    manager = tf.train.CheckpointManager(kept, str(state / "checkpoints"), max_to_keep=2)
    kept.restore(manager.latest_checkpoint)
    done = int(epoch.numpy())
    history = state / "epochs.jsonl"
    for line in _lines(history)[:done]:
        _say({"epoch": json.loads(line)})

    def keep(number: int) -> None:
        epoch.assign(number)
        manager.save()

    model.fit(
        feed, validation_data=held, initial_epoch=done, epochs=job.epochs, verbose=0,
        callbacks=[_teller(tf, history, len(found.images), keep)],
    )  # fmt: skip
    accuracy = _export(tf, model, found, Path(job.export))
    memory = tf.config.experimental.get_memory_info
    gpus = tf.config.list_logical_devices("GPU")
    unit = 1 if sys.platform == "darwin" else 1024
    ended = Trained(
        trained_on=len(found.images), held_out=len(found.held_images), classes=found.classes, accuracy=accuracy,
        resumed_at=done, peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        gpu_peak_bytes=max((int(memory(gpu.name)["peak"]) for gpu in gpus), default=None),
        devices=tuple(device.name for device in (gpus or tf.config.list_logical_devices("CPU"))),
    )  # fmt: skip
    _say({"trained": asdict(ended)})


def _network(tf: Any, shape: tuple[int, ...], classes: int, job: Job, count: int) -> Any:
    """The demo's network, for pictures of any size."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Input(shape),
            tf.keras.layers.Conv2D(24, 3, padding="same", activation="relu"),
            tf.keras.layers.Conv2D(48, 3, padding="same", activation="relu"),
            tf.keras.layers.MaxPooling2D(),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dropout(0.4),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(classes, activation="softmax"),
        ]
    )
    schedule = tf.keras.optimizers.schedules.CosineDecay(LEARNING_RATE, job.epochs * -(-count // job.batch))
    model.compile(tf.keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _lines(history: Path) -> list[str]:
    return history.read_text(encoding="utf-8").splitlines() if history.is_file() else []


def _teller(tf: Any, history: Path, count: int, keep: Callable[[int], None]) -> Any:
    class Teller(tf.keras.callbacks.Callback):  # type: ignore[misc]
        """Says and keeps what came of each epoch."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
            self._began_s = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            took_s = time.perf_counter() - self._began_s
            found = Epoch(
                epoch + 1, float(logs["loss"]), float(logs["accuracy"]), float(logs["val_loss"]),
                float(logs["val_accuracy"]), took_s, count / took_s,
            )  # fmt: skip
            # Killed between the two, the epoch is done again: then it stands here once all the same.
            before = _lines(history)[:epoch]
            write_whole(history, "".join(f"{line}\n" for line in [*before, json.dumps(asdict(found))]))
            keep(epoch + 1)
            _say({"epoch": asdict(found)})

    return Teller()


def _export(tf: Any, model: Any, found: pictures.Data, target: Path) -> float:
    """Write the version; returns the accuracy of the exported function on held-out pictures."""
    shape = [None, *found.images.shape[1:]]

    class Served(tf.Module):  # type: ignore[misc]
        """The model behind named input and output."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name=INPUT)])  # type: ignore[untyped-decorator]
        def serve(self, image: Any) -> dict[str, Any]:
            return {OUTPUT: self.model(image, training=False)}

    served = Served()
    right = 0
    for first in range(0, len(found.held_images), 256):
        part = slice(first, first + 256)
        answers = served.serve(tf.constant(found.held_images[part]))[OUTPUT].numpy()
        right += int((answers.argmax(axis=1) == found.held_labels[part]).sum())
    # Not a number: no worker takes it for a version before it is whole.
    making = target.with_name(f".making-{target.name}-{os.getpid()}")
    tf.saved_model.save(served, str(making), signatures={"serving_default": served.serve})
    making.rename(target)
    return right / len(found.held_images)


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
