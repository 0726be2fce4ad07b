"""What can go wrong before a simulation; each error says its cause and its cure."""

from __future__ import annotations

from penstock.errors import PenstockError


class BadInput(PenstockError):
    """The command line or the scenario says something that cannot be."""

    exit_code = 2
