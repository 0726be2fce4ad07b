"""Queueing formulas, each with its symbols, units, assumptions, range and source.

`mm1` and `erlang` hold the text-book queues; `batch` one worker that serves batches; `split` a group, whose partitions
make it c separate queues of which the busiest decides.
"""
