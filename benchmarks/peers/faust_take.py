"""A Faust agent that takes up to a batch of events, waiting 10 ms to fill it; at-least-once, Faust's default."""

from __future__ import annotations

import asyncio
import signal

import faust
from peer import BATCH, answer, load_model, read_job


async def main() -> None:
    """Run until SIGTERM."""
    job = read_job()
    infer = load_model(job["model"], job["rows"])
    app = faust.App(
        job["group"],
        broker=f"kafka://{job['bootstrap']}",
        store="memory://",
        datadir=job["state"],
        value_serializer="raw",
        key_serializer="raw",
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
    )
    requests, results = app.topic(job["requests"], value_type=bytes), app.topic(job["results"], value_type=bytes)

    @app.agent(requests)
    async def infer_batches(stream: faust.StreamT) -> None:
        async for events in stream.take_events(BATCH, within=0.01):
            answers = answer(job, infer, [(event.value, event.headers) for event in events])
            for event, value in zip(events, answers, strict=True):
                await results.send(key=event.key, value=value)

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await app.start()
    ended, asked = asyncio.create_task(app.wait_until_stopped()), asyncio.create_task(stop.wait())
    await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
