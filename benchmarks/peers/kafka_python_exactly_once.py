"""A hand-written exactly-once loop on kafka-python with the client's defaults: poll, compute, transaction."""

from __future__ import annotations

from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import OffsetAndMetadata
from peer import BATCH, answer, load_model, read_job, stop_event


def main() -> None:
    """Run until SIGTERM."""
    job, stop = read_job(), stop_event()
    infer = load_model(job["model"], job["rows"])
    consumer = KafkaConsumer(
        job["requests"],
        bootstrap_servers=job["bootstrap"],
        group_id=job["group"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=BATCH,
    )
    producer = KafkaProducer(bootstrap_servers=job["bootstrap"], transactional_id=job["slot"])
    producer.init_transactions()
    while not stop.is_set():
        polled = consumer.poll(timeout_ms=100)
        records = [record for part in polled.values() for record in part]
        if not records:
            continue
        answers = answer(job, infer, [(record.value, record.headers) for record in records])
        producer.begin_transaction()
        for record, value in zip(records, answers, strict=True):
            producer.send(job["results"], value=value, key=record.key)
        offsets = {place: OffsetAndMetadata(part[-1].offset + 1, "", -1) for place, part in polled.items()}
        producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
        producer.commit_transaction()
    producer.close()
    consumer.close()


if __name__ == "__main__":
    main()
