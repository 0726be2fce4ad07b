"""What can go wrong in a demo; each error says its cause and its cure."""

from __future__ import annotations

from penstock.errors import PenstockError


class DemoError(PenstockError):
    """Base of the demo's errors."""


class TrainingFailed(DemoError):
    """The digits model could not be trained."""

    exit_code = 70


class NotReady(DemoError):
    """Something that the demo started did not become ready in time."""

    exit_code = 75


class ProcessDied(DemoError):
    """A process that the demo needs ended on its own."""

    exit_code = 70
