"""A hand-written loop on kafka-python: poll, compute the batch at once, send, and let the client commit now and then.

Not even at-least-once: offsets of what was polled and not yet sent may be committed.
"""

from __future__ import annotations

from kafka import KafkaConsumer, KafkaProducer
from peer import BATCH, answer, load_model, read_job, stop_event


def main() -> None:
    """Run until SIGTERM."""
    job, stop = read_job(), stop_event()
    infer = load_model(job["model"], job["rows"])
    consumer = KafkaConsumer(
        job["requests"],
        bootstrap_servers=job["bootstrap"],
        group_id=job["group"],
        auto_offset_reset="earliest",
        max_poll_records=BATCH,
    )
    producer = KafkaProducer(bootstrap_servers=job["bootstrap"])
    while not stop.is_set():
        records = [record for part in consumer.poll(timeout_ms=100).values() for record in part]
        if not records:
            continue
        answers = answer(job, infer, [(record.value, record.headers) for record in records])
        for record, value in zip(records, answers, strict=True):
            producer.send(job["results"], value=value, key=record.key)
    producer.close()
    consumer.close()


if __name__ == "__main__":
    main()
