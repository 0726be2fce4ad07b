"""Queueing formulas, each with its symbols, units, assumptions, range and source.

`mm1` and `erlang` hold the text-book queues, `deterministic` those with constant service, `general` those known by two
moments; `batch` one worker that serves batches (`bulk` the same exactly); `split` a group, whose partitions make it c
separate queues of which the busiest decides, `dealing` how it shares out partitions that differ; `staffing` how many
servers. docs/reference/queueing.md is their table.
"""
