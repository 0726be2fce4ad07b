"""Answers that are no numbers: which rows of a batch hold NaN or an infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from inference_workers.answers import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def bad_rows(outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
    """Which rows hold a NaN or an infinity in any output; `None` = none, which one pass over the batch tells.

    Args:
        outputs: arrays of equally many rows; those that are no floating-point numbers are always finite.

    """
    bad: NDArray[np.bool_] | None = None
    for array in outputs.values():
        if array.dtype.kind != "f":
            continue
        finite = np.isfinite(array)
        if finite.all():
            continue
        rows = ~finite.reshape(len(array), -1).all(axis=1)
        bad = rows if bad is None else bad | rows
    return bad


def failure(outputs: Mapping[str, NDArray[Any]], model: str) -> Failure | None:
    """Why a request with these outputs is not answered with them; `None` = they are finite.

    Args:
        outputs: the request's own rows.
        model: what the message calls the model.

    """
    bad = bad_rows(outputs)
    if bad is None:
        return None
    rows = np.flatnonzero(bad)
    names = [name for name, array in outputs.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    shown = ", ".join(str(row) for row in rows[:5]) + (", ..." if len(rows) > 5 else "")  # noqa: PLR2004 - enough to look at
    message = (
        f"{model} answered with numbers that are not finite in output {', '.join(map(repr, names))}, "
        f"{len(rows)} of {len(bad)} rows (row {shown}); worker.non_finite says that such answers fail"
    )
    return Failure("non-finite-output", message, "model")
