"""What three of a worker's threads do until they are told to stop: poll, decode, execute.

The fourth, delivery, is `inference_workers.delivery.Deliverer.run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_workers.answers import Answer
from inference_workers.buffer import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference_workers.crew import Crew
    from inference_workers.executor import Executor
    from inference_workers.intake import Intake
    from inference_workers.lanes import Lane
    from inference_workers.probes import Beats
    from streams.kafka.group_consumer import GroupConsumer

#: Seconds of one poll: how soon a pause or a stop is seen while nothing arrives; and while nothing is to be fetched.
POLL_S, PAUSED_POLL_S = 0.5, 0.02
#: Seconds between looks at whether to stop while there is nothing to decode, or no room for it.
LOOK_S = 0.5
#: Records decoded between two hand-overs: few enough that the device does not wait for the last of them.
MOST_AT_ONCE = 64


def poll(name: str, lane: Lane, consumer: GroupConsumer, crew: Crew, beats: Beats) -> None:
    """Poll until all is delivered, then close the consumer; records go into the lane's buffer.

    Nothing else is done here: joins and heartbeats must never wait for a batch.
    """
    paused = False
    while not crew.drained.is_set() and not crew.stop_now.is_set():
        beats.beat(name)
        draining = crew.stop.is_set()
        # Paused partitions must be polled on: heartbeats, joins and revocations happen here.
        paused = draining or not lane.buffer.wants_more(paused=paused)
        consumer.set_paused(paused)
        polled = consumer.poll(PAUSED_POLL_S if draining or paused else POLL_S)
        lane.commits.serve(consumer.commit)
        if polled and not draining:
            chunks = []
            for partition, records in polled.items():
                stamped = lane.ownership.stamp(partition, records)
                if stamped is not None:
                    chunks.append(Chunk(partition, *stamped))
            lane.buffer.put(chunks)
    beats.rest(name)
    if not crew.stop_now.is_set():
        consumer.close()


def decode(
    name: str,
    lane: Lane,
    intake: Intake,
    crew: Crew,
    beats: Beats,
    *,
    swap: Callable[[], object] = lambda: None,
    arrived: Callable[[int], None] = lambda _: None,
) -> None:
    """Make requests of records while the device computes, until told to stop; then close the lane's queues.

    Args:
        name: the thread's, for its beats.
        lane: whose records.
        intake: of this thread alone.
        crew: says when to stop.
        beats: told that the thread is alive.
        swap: called before anything is decoded: a new version of the model may take over there.
        arrived: told how many rows have come.

    """
    while not crew.stop.is_set() and not crew.stop_now.is_set():
        beats.beat(name)
        room = lane.ready.room(LOOK_S)
        if not room:
            continue
        items = []
        rows = 0
        chunks = lane.buffer.get(min(room, MOST_AT_ONCE), LOOK_S)
        swap()
        for chunk in chunks:
            for record in chunk.records:
                item = intake.decode(record, chunk.epoch)
                items.append(item)
                rows += 1 if isinstance(item, Answer) else item.rows
        if items:
            arrived(rows)
            lane.ready.put(items)
    beats.rest(name)
    lane.buffer.close()
    lane.ready.close()


def execute(name: str, lane: Lane, executor: Executor, crew: Crew, beats: Beats) -> None:
    """Run batches until the lane's queue is closed."""
    while not lane.ready.closed and not crew.stop_now.is_set():
        beats.beat(name)
        executor.step()
    beats.rest(name)
