"""Quix Streams, at-least-once: a function a record, since its windows are by key and so no batches for a model."""

from __future__ import annotations

from peer import answer, load_model, read_job
from quixstreams import Application


def main() -> None:
    """Run until SIGTERM, which Quix handles."""
    job = read_job()
    infer = load_model(job["model"], job["rows"])
    app = Application(
        broker_address=job["bootstrap"],
        consumer_group=job["group"],
        auto_offset_reset="earliest",
        auto_create_topics=False,
        state_dir=job["state"],
        loglevel="ERROR",
    )
    requests = app.topic(job["requests"], value_deserializer="bytes", key_deserializer="bytes")
    results = app.topic(job["results"], value_serializer="bytes", key_serializer="bytes")
    frame = app.dataframe(requests)
    frame = frame.apply(lambda value, _key, _time, headers: answer(job, infer, [(value, headers)])[0], metadata=True)
    frame.to_topic(results)
    app.run()


if __name__ == "__main__":
    main()
