"""FastStream on aiokafka, its quicker client here: a batch subscriber and publisher, acknowledging as by default."""

from __future__ import annotations

import asyncio
import logging

from faststream import FastStream
from faststream.kafka import KafkaBroker, KafkaMessage, KafkaPublishMessage
from peer import BATCH, answer, load_model, read_job


def main() -> None:
    """Run until SIGTERM, which FastStream handles."""
    job = read_job()
    infer = load_model(job["model"], job["rows"])
    # aiokafka's 16 kB would not hold the results of one batch in JSON.
    broker = KafkaBroker(job["bootstrap"], log_level=logging.WARNING, max_batch_size=1_000_000)

    @broker.subscriber(
        job["requests"],
        group_id=job["group"],
        auto_offset_reset="earliest",
        batch=True,
        max_records=BATCH,
        batch_timeout_ms=10,
        # Bytes as they are: the default would try to read them as JSON and text first.
        decoder=as_they_are,
    )
    async def handle(_bodies: list[bytes], message: KafkaMessage) -> None:
        records = message.raw_message
        answers = answer(job, infer, [(record.value, record.headers) for record in records])
        results = (KafkaPublishMessage(value, key=record.key) for record, value in zip(records, answers, strict=True))
        await broker.publish_batch(*results, topic=job["results"])

    asyncio.run(FastStream(broker).run())


async def as_they_are(message: KafkaMessage) -> list[bytes]:
    """The values of a batch."""
    return [record.value for record in message.raw_message]


if __name__ == "__main__":
    main()
