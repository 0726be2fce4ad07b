"""The limit of kafka-python by its public interface: consume, write a result each, commit, in large transactions.

No request is decoded and nothing is computed: each result has the very bytes, value and headers, of one that our
worker wrote. Settings are those found best for it: the short retry pause, a linger so that nothing leaves before the
commit, and as many records a transaction as one poll gives.
"""

from __future__ import annotations

import base64

from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import OffsetAndMetadata
from peer import read_job, stop_event

#: Records of one poll, and so of one transaction: commits are then a small part of the time.
POLL_RECORDS = 2048


def main() -> None:
    """Run until SIGTERM."""
    job, stop = read_job(), stop_event()
    value = base64.b64decode(job["result_value"])
    headers = [(name, base64.b64decode(text)) for name, text in job["result_headers"]]
    consumer = KafkaConsumer(
        job["requests"],
        bootstrap_servers=job["bootstrap"],
        group_id=job["group"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=POLL_RECORDS,
        heartbeat_interval_ms=250,
    )
    producer = KafkaProducer(
        bootstrap_servers=job["bootstrap"], transactional_id=job["slot"], retry_backoff_ms=5, linger_ms=10_000
    )
    producer.init_transactions()
    while not stop.is_set():
        polled = consumer.poll(timeout_ms=100)
        if not polled:
            continue
        producer.begin_transaction()
        for place, part in polled.items():
            for record in part:
                producer.send(job["results"], value=value, key=record.key, headers=headers, partition=place.partition)
        offsets = {place: OffsetAndMetadata(part[-1].offset + 1, "", -1) for place, part in polled.items()}
        producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
        producer.commit_transaction()
    producer.close()
    consumer.close()


if __name__ == "__main__":
    main()
