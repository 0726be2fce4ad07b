"""What can go wrong before a simulation; each error says its cause and its cure."""

from __future__ import annotations

from penstock.errors import InvalidInput


class BadInput(InvalidInput):
    """The command line or the scenario says something that cannot be."""
