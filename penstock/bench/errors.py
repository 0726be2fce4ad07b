"""What can go wrong in a benchmark; each error says its cause and its cure."""

from __future__ import annotations

from penstock.errors import PenstockError


class BenchError(PenstockError):
    """Base of the benchmark's errors."""

    exit_code = 70


class UnknownRow(BenchError):
    """A row was asked for that there is not."""

    exit_code = 2


class CandidateFailed(BenchError):
    """A process under measurement ended, answered nothing, or answered wrongly."""
