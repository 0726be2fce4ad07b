"""One version of a TensorFlow SavedModel, loaded, checked and warmed.

A SavedModel is a program: load only those you would run as code.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_workers.errors import BrokenModel, ModelNotFound, RejectedInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

SIGNATURE = "serving_default"


class ComputeFailed(Exception):
    """The model raised while computing a batch."""

    def __init__(self, message: str, *, out_of_memory: bool) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What the signature says of one input: NumPy type (object = text) and shape without the rows; `None` = any."""

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


def newest_version(model_dir: Path) -> tuple[str, Path]:
    """The highest-numbered complete version under `model_dir`, as TensorFlow Serving lays models out.

    Raises:
        ModelNotFound: there is none.

    """
    versions = [
        path
        for path in (model_dir.iterdir() if model_dir.is_dir() else ())
        if path.name.isdecimal() and (path / "saved_model.pb").is_file()
    ]
    if not versions:
        msg = (
            f"pipeline.model={str(model_dir)!r}: holds no version; expected {model_dir}/<number>/saved_model.pb, as "
            "`model.export(...)` of Keras 3 or `tf.saved_model.save` writes it"
        )
        raise ModelNotFound(msg)
    newest = max(versions, key=lambda path: int(path.name))
    return newest.name, newest


def configure_tensorflow(intra_op_threads: int, *, gpu: int | None) -> None:
    """Set what TensorFlow only takes before its first operation: threads, and the one GPU that is ours.

    Raises:
        BrokenModel: the GPU that was asked for is not there.

    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf  # noqa: PLC0415 - seconds of import, and only workers need it

    tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    gpus = tf.config.list_physical_devices("GPU")
    if gpu is None:
        tf.config.set_visible_devices([], "GPU")
        return
    if gpu >= len(gpus):
        msg = f"device gpu:{gpu}: TensorFlow sees {len(gpus)} GPU(s); install penstock[worker-gpu], or use --device cpu"
        raise BrokenModel(msg)
    tf.config.set_visible_devices([gpus[gpu]], "GPU")
    tf.config.experimental.set_memory_growth(gpus[gpu], True)  # noqa: FBT003 - TensorFlow's own signature


class ServedModel:
    """A loaded version. `run` belongs to one thread.

    Args:
        model_dir: `models/<name>`; its newest version is taken.

    Raises:
        ModelNotFound: no version.
        BrokenModel: it does not load, or has no usable signature.

    """

    def __init__(self, model_dir: Path) -> None:
        import tensorflow as tf  # noqa: PLC0415 - see configure_tensorflow

        self.name = model_dir.name
        self.version, path = newest_version(model_dir)
        self._tf = tf
        try:
            self._loaded = tf.saved_model.load(str(path))
            self._function = self._loaded.signatures[SIGNATURE]
        except KeyError as error:
            msg = f"the model at {path} has no signature {SIGNATURE!r}; export it with one"
            raise BrokenModel(msg) from error
        except (OSError, ValueError, tf.errors.OpError) as error:
            msg = f"the model at {path} does not load: {error}; export it again, or remove this version"
            raise BrokenModel(msg) from error
        self.inputs: dict[str, TensorSpec] = {
            name: TensorSpec(_numpy_type(spec.dtype), tuple(spec.shape)[1:])
            for name, spec in self._function.structured_input_signature[1].items()
        }

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The inputs as the signature takes them.

        Raises:
            RejectedInput: names, types or shapes do not fit; says which and what would.

        """
        if inputs.keys() != self.inputs.keys():
            msg = f"the inputs are {sorted(inputs)}, the model {self.name} takes {sorted(self.inputs)}"
            raise RejectedInput("unexpected-inputs", msg)
        fitted = {}
        for name, spec in self.inputs.items():
            array = inputs[name]
            if array.dtype != spec.dtype:
                # Widening keeps every value; anything else would change the question.
                if spec.dtype == object or not np.can_cast(array.dtype, spec.dtype, "safe"):
                    msg = f"input {name!r} is {array.dtype}, the model takes {spec.dtype}"
                    raise RejectedInput("wrong-datatype", msg)
                array = array.astype(spec.dtype)
            shape = array.shape[1:]
            if len(shape) != len(spec.shape) or any(
                w is not None and w != g for w, g in zip(spec.shape, shape, strict=True)
            ):
                wanted = [-1, *(-1 if size is None else size for size in spec.shape)]
                msg = f"input {name!r} has shape {list(array.shape)}, the model takes {wanted}"
                raise RejectedInput("wrong-shape", msg)
            fitted[name] = array
        return fitted

    def sample(self, rows: int) -> dict[str, NDArray[Any]]:
        """An input of the right form for warming up: zeros, empty text, 1 for sizes that are open."""
        return {
            name: np.full((rows, *(size or 1 for size in spec.shape)), b"" if spec.dtype == object else 0, spec.dtype)
            for name, spec in self.inputs.items()
        }

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute one batch.

        Args:
            inputs: arrays of `rows` rows each, as `check` returns them.

        Returns:
            arrays of `rows` rows each, by the signature's output names.

        Raises:
            ComputeFailed: the model raised.
            BrokenModel: an output does not have a row a request row, so no answer could be told apart.

        """
        rows = len(next(iter(inputs.values())))
        try:
            tensors = self._function(**{name: self._tf.constant(array) for name, array in inputs.items()})
            outputs = {name: tensor.numpy() for name, tensor in tensors.items()}
        except (self._tf.errors.OpError, ValueError, TypeError) as error:
            raise ComputeFailed(
                str(error)[:500], out_of_memory=isinstance(error, self._tf.errors.ResourceExhaustedError)
            ) from error
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != rows:
                msg = (
                    f"output {name!r} of model {self.name} version {self.version} has shape {list(array.shape)} for "
                    f"{rows} rows; each output needs one row a request row"
                )
                raise BrokenModel(msg)
        return outputs


def _numpy_type(dtype: Any) -> np.dtype[Any]:
    return np.dtype(object) if dtype.name == "string" else np.dtype(dtype.as_numpy_dtype)
