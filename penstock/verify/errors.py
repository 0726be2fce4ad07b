"""What can go wrong with a verification itself, as against what it finds."""

from __future__ import annotations

from penstock.errors import PenstockError


class CannotVerify(PenstockError):
    """The surroundings of a run cannot be had, or a fault did not come about: nothing can be said."""

    exit_code = 69
