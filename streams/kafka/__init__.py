"""The one package that touches kafka-python: typed, with our errors, its traps handled once.

Others import from here; `group_consumer` and `transactions` hold what only workers need.
"""

from __future__ import annotations

from streams.kafka import guards, unpacking
from streams.kafka.admin import Admin, TopicSpec
from streams.kafka.producer import close_producer, new_producer
from streams.kafka.reader import commit_offsets, new_reader
from streams.kafka.settings import KafkaSettings
from streams.kafka.translate import connect, translate, translated

__all__ = [
    "Admin",
    "KafkaSettings",
    "TopicSpec",
    "close_producer",
    "commit_offsets",
    "connect",
    "new_producer",
    "new_reader",
    "translate",
    "translated",
]

guards.install()
unpacking.install()
