"""What a worker says of its model's versions: in the log, each thing once, and in a file for `penstock model`."""

from __future__ import annotations

import json
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

#: Seconds between log lines about a shadow version.
SHADOW_LOG_S = 60.0


class ModelNotes:
    """Belongs to the thread that looks, but for `state`, which any may call.

    Args:
        model: the model's name.
        state_file: where the state is written; `None` = nowhere.

    """

    def __init__(self, model: str, state_file: Path | None) -> None:
        self._model, self._state_file = model, state_file
        self._problem: str | None = None
        self._written, self._writing = "", threading.Lock()
        self._shadow_at_s, self._compared = float("-inf"), 0

    def problem(self, problem: str | None) -> None:
        """Log what stands in the way of what a person would expect, when it changes."""
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            log.info("model.well_again", extra={"model": self._model})
        else:
            log.warning("model.problem", extra={"model": self._model, "problem": problem})

    def shadow(self, facts: Mapping[str, Any], now_s: float) -> None:
        """Log what the comparisons came to, if there are new ones, at most once in `SHADOW_LOG_S`."""
        if facts["compared"] != self._compared and now_s - self._shadow_at_s >= SHADOW_LOG_S:
            self._shadow_at_s, self._compared = now_s, facts["compared"]
            log.info("model.shadow_compared", extra={"model": self._model} | dict(facts))

    def state(self, status: Mapping[str, Any]) -> None:
        """Write the state if it has changed. A courtesy: where that cannot be, the work goes on."""
        told = json.dumps(dict(status) | {"pid": os.getpid()}, indent=1) + "\n"
        if self._state_file is None:
            return
        with self._writing:
            if told == self._written:
                return
            try:
                self._state_file.parent.mkdir(parents=True, exist_ok=True)
                temporary = self._state_file.with_suffix(".tmp")
                temporary.write_text(told, encoding="utf-8")
                temporary.replace(self._state_file)
            except OSError as error:
                log.warning("model.state_dropped", extra={"error": str(error)})
            else:
                self._written = told


def state_file(state_dir: Path, slot: str) -> Path:
    """Where a slot's worker writes its state."""
    return state_dir / "models" / f"{slot}.json"


def last_served(path: Path) -> str | None:
    """What the slot of that state file served last; `None` = not known."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    serving = told.get("serving") if isinstance(told, dict) else None
    return serving if isinstance(serving, str) else None
