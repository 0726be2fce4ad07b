"""An exactly-once loop on confluent-kafka: take a batch, compute, one transaction.

`defaults`: the client's defaults, up to 10 ms for filling a batch, as its examples do. `tuned`: take what waits, and
ask again after 5 ms instead of 100 where the coordinator is still writing the last transaction's markers.
"""

from __future__ import annotations

from confluent_kafka import Consumer, Producer, TopicPartition
from peer import BATCH, answer, load_model, read_job, stop_event


def main() -> None:
    """Run until SIGTERM."""
    job, stop = read_job(), stop_event()
    tuned = job["variant"] == "tuned"
    infer = load_model(job["model"], job["rows"])
    consumer = Consumer(
        {
            "bootstrap.servers": job["bootstrap"],
            "group.id": job["group"],
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([job["requests"]])
    producer = Producer(
        {
            "bootstrap.servers": job["bootstrap"],
            "transactional.id": job["slot"],
            **({"retry.backoff.ms": 5, "linger.ms": 0} if tuned else {}),
        }
    )
    producer.init_transactions()
    while not stop.is_set():
        if tuned:
            first = consumer.poll(0.1)
            taken = [] if first is None else [first, *consumer.consume(BATCH - 1, 0)]
        else:
            taken = consumer.consume(BATCH, 0.01)
        messages = [message for message in taken if message.error() is None]
        if not messages:
            continue
        answers = answer(job, infer, [(message.value(), message.headers() or []) for message in messages])
        producer.begin_transaction()
        offsets = {}
        for message, value in zip(messages, answers, strict=True):
            producer.produce(job["results"], value, message.key())
            offsets[message.partition()] = message.offset() + 1
        places = [TopicPartition(job["requests"], partition, offset) for partition, offset in offsets.items()]
        producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata())
        producer.commit_transaction()
    consumer.close()


if __name__ == "__main__":
    main()
