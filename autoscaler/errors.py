"""What can go wrong in the control plane. Each message states cause and cure."""

from __future__ import annotations


class AutoscalerError(Exception):
    """Base of all errors of this package."""


class UnstableQueue(AutoscalerError, ValueError):
    """A steady-state formula was asked about a queue that grows for ever (load >= capacity)."""


class NoWorkerTypes(AutoscalerError, ValueError):
    """A decision was asked for without any worker type to decide about."""


class WrongPipeline(AutoscalerError, ValueError):
    """A telemetry record of one pipeline was given to the state of another."""


class StoreUnavailable(AutoscalerError):
    """Redis cannot be reached or refuses; scaling goes on from memory."""


class ActuatorFailed(AutoscalerError):
    """A declared fleet could not be brought about."""


class StaleDecider(AutoscalerError):
    """A fleet was declared with an epoch older than one already seen: another decider has taken over."""


class UnknownPolicy(AutoscalerError, ValueError):
    """A policy, or a parameter of one, was asked for that does not exist or cannot be."""
