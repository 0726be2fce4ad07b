"""What the policy remembers of one worker type among several."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remembered:
    """Of what was decided; `Remembered()` knows nothing."""

    #: Count decided last; `None` = none, or it was only advice.
    decided: int | None = None
    #: When the type was last made larger, and from how many.
    grown_at_s: float | None = None
    grown_from: int = 0
