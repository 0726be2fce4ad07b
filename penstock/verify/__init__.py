"""Faults on purpose, and a ledger of every request: `penstock verify delivery`.

`ledger` and `timeline` are pure and hold what is claimed; `faults/` brings trouble about; the rest is the load, the
processes and the report.
"""
