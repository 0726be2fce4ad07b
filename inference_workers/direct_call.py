"""Calling a restored signature without the argument binding that TensorFlow repeats on every call.

The public call binds keywords, checks types and builds a dictionary in Python each time, which is nearly half of the
cost of a small model's single row (docs/explanation/models.md has the figures). The order of arguments and results is
asked of TensorFlow once. The way there is not part of its public interface: where any step of it is missing or
disagrees, the public call is used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

#: Tensors by name to tensors by name.
Call = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def direct_call(function: Any, sample: Mapping[str, Any]) -> Call:
    """The cheapest correct way to call a signature.

    Args:
        function: a signature of a restored SavedModel; the caller keeps it alive.
        sample: tensors that it takes; both ways are tried with them and must agree.

    """

    def public(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = function(**tensors)
        return found

    try:
        direct = _direct(function, sample)
    except Exception as error:  # noqa: BLE001 - another TensorFlow may have anything else in this place
        log.info("model.public_call", extra={"error": f"{type(error).__name__}: {error}"[:200]})
        return public
    try:
        expected, found = public(sample), direct(sample)
    except Exception:  # noqa: BLE001 - the model fails on the sample: warming up says so, in its own words
        return public
    return direct if _same(expected, found) else public


def functions_known() -> int:
    """How many graph functions TensorFlow knows: one more for each that is traced. 0 where it does not tell."""
    try:
        from tensorflow.python.eager import context as eager  # noqa: PLC0415 - loaded with TensorFlow

        return len(eager.context().list_function_names())
    except (ImportError, AttributeError):
        return 0


def _direct(function: Any, sample: Mapping[str, Any]) -> Call:
    from tensorflow.python.eager import context as eager  # noqa: PLC0415 - loaded with TensorFlow, where it is used

    kind = function.function_type
    context = eager.context()
    flat = kind.unpack_inputs(kind.bind(**sample))
    by_identity = {id(tensor): name for name, tensor in sample.items()}
    order = tuple(by_identity[id(tensor)] for tensor in flat)
    if sorted(order) != sorted(sample):
        msg = f"arguments are {sorted(order)}, not {sorted(sample)}"
        raise ValueError(msg)
    count = len(kind.flat_outputs)
    places: dict[str, int] = kind.pack_output(list(range(count)))
    named = tuple(places.items())
    inner = function._inference_function  # noqa: SLF001 - see above
    captured, call, name = tuple(function.captured_inputs), context.call_function, inner.name

    def direct(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        results = call(name, [*(tensors[key] for key in order), *captured], count)
        return {key: results[place] for key, place in named}

    return direct


def _same(expected: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether both ways gave tensors of the same names, types and shapes.

    Not the values: a model that draws random numbers gives others each time.
    """
    return expected.keys() == found.keys() and all(
        found[name].dtype == tensor.dtype and np.array_equal(found[name].shape, tensor.shape)
        for name, tensor in expected.items()
    )
