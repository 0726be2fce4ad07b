"""What the demo's own processes are given to live in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.local.paths import CACHE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The children's environment: no variables that would change the demo's settings, and this very package."""
    kept = {name: text for name, text in given.items() if not name.startswith("PENSTOCK_") or name == CACHE_VARIABLE}
    root = str(Path(__file__).parents[2])
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, (root, given.get("PYTHONPATH"))))}
