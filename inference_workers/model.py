"""One version of a TensorFlow SavedModel, loaded, checked and warmed.

A SavedModel is a program: load only those you would run as code.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_workers.direct_call import direct_call
from inference_workers.errors import BrokenModel, RejectedInput
from inference_workers.model_versions import newest_version
from streams.tensors import BYTES, DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

SIGNATURE = "serving_default"
#: Sizes of open dimensions tried for warming up, smallest first: the smaller, the sooner the worker is ready.
_OPEN_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ComputeFailed(Exception):
    """The model raised while computing a batch."""

    def __init__(self, message: str, *, out_of_memory: bool) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What the signature says of one tensor: NumPy type (object = text) and shape without the rows; `None` = any."""

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        kind = BYTES if self.dtype == object else _WIRE_NAMES[self.dtype]
        return f"{kind} {[-1, *(-1 if size is None else size for size in self.shape)]}"


_WIRE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


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
    """A loaded version: any number of named inputs and outputs, numbers or text, each with rows first.

    `run` belongs to one thread at a time. A new size of an open dimension traces nothing: a restored signature is a
    graph already, for every shape that its specification admits.

    Args:
        model_dir: `models/<name>`.
        version: the folder in it; its newest complete version if not given.

    Raises:
        ModelNotFound: no version.
        BrokenModel: it does not load, or has no usable signature.

    """

    def __init__(self, model_dir: Path, version: str | None = None) -> None:
        import tensorflow as tf  # noqa: PLC0415 - see configure_tensorflow

        self.name = model_dir.name
        self.version = newest_version(model_dir).name if version is None else version
        path = model_dir / self.version
        self._tf = tf
        try:
            # Kept: its variables and tables live as long as this object.
            self._loaded = tf.saved_model.load(str(path))
        except Exception as error:
            # Whatever a damaged file makes TensorFlow raise, Python errors of its loader included.
            msg = f"the model at {path} does not load: {_short(error)}; export it again, or remove this version"
            raise BrokenModel(msg) from error
        if SIGNATURE not in self._loaded.signatures:
            found = ", ".join(sorted(self._loaded.signatures)) or "none"
            msg = f"the model at {path} has no signature {SIGNATURE!r} (it has {found}); export it with one"
            raise BrokenModel(msg)
        self._function = self._loaded.signatures[SIGNATURE]
        declared = self._function.structured_input_signature[1]
        if not declared:
            msg = f"the signature {SIGNATURE!r} of {path} takes no input; export it with at least one"
            raise BrokenModel(msg)
        self.inputs: dict[str, TensorSpec] = {
            name: _spec(spec, f"input {name!r} of {path}") for name, spec in declared.items()
        }
        self.outputs: dict[str, TensorSpec] = {
            name: _spec(spec, f"output {name!r} of {path}", rows_known=False)
            for name, spec in self._function.structured_outputs.items()
        }
        #: Whether XLA compiles it for each shape anew, which takes as long as tracing does.
        self.compiles_by_shape = any(
            function.attr["_XlaMustCompile"].b for function in self._function.graph.as_graph_def().library.function
        )
        self._open_size = self._smallest_open_size()
        self._call = direct_call(self._function, {name: tf.constant(a) for name, a in self.sample(1).items()})

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
        """An input of the right form for warming up: zeros, empty text, a small size where sizes are open."""
        return self._sample(rows, self._open_size)

    def _sample(self, rows: int, open_size: int) -> dict[str, NDArray[Any]]:
        return {
            name: np.full(
                (rows, *(size or open_size for size in spec.shape)), b"" if spec.dtype == object else 0, spec.dtype
            )
            for name, spec in self.inputs.items()
        }

    def _smallest_open_size(self) -> int:
        """The smallest of a few sizes of open dimensions that the model computes: a window of three words needs three.

        1 where it computes none, so that warming up says what is wrong.
        """
        if any(size is None for spec in self.inputs.values() for size in spec.shape):
            for size in _OPEN_SIZES:
                tensors = {name: self._tf.constant(array) for name, array in self._sample(1, size).items()}
                try:
                    self._function(**tensors)
                except (self._tf.errors.OpError, ValueError, TypeError):
                    continue
                return size
        return 1

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
        constant = self._tf.constant
        try:
            tensors = self._call({name: constant(array) for name, array in inputs.items()})
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


def _spec(spec: Any, place: str, *, rows_known: bool = True) -> TensorSpec:
    """A tensor of the signature in our terms.

    Raises:
        BrokenModel: it cannot be served: ragged or sparse, of a type that the wire does not carry, or not one row a
            request row.

    """
    shape, dtype = getattr(spec, "shape", None), getattr(spec, "dtype", None)
    if type(spec).__name__ != "TensorSpec" or shape is None or dtype is None:
        msg = f"{place} is a {type(spec).__name__}: only plain tensors are served; export a signature that has them"
        raise BrokenModel(msg)
    numpy_type = np.dtype(object) if dtype.name == "string" else np.dtype(dtype.as_numpy_dtype)
    if numpy_type.kind != "O" and numpy_type not in _WIRE_NAMES:
        msg = f"{place} is {dtype.name}, which no request can carry; cast it to one of {', '.join(DTYPES)} or to text"
        raise BrokenModel(msg)
    if shape.rank is None:
        if rows_known:
            msg = f"{place} has no known number of dimensions; export it with a shape such as [None, 10]"
            raise BrokenModel(msg)
        return TensorSpec(numpy_type, ())
    sizes = tuple(shape)
    if not sizes or sizes[0] is not None:
        wanted = [None, *sizes[1:]]
        if rows_known or not sizes:
            msg = (
                f"{place} has shape {list(sizes)}: its first dimension is rows and must be open; export it as {wanted}"
            )
            raise BrokenModel(msg)
    return TensorSpec(numpy_type, sizes[1:])


def _short(error: BaseException) -> str:
    """The first line of what TensorFlow says, which may go on for pages."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
