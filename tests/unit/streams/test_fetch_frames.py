"""Our fetches are kafka-python's byte for byte, and we read in its answers what it reads."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.protocol.consumer import FetchRequest, FetchResponse

from streams.kafka import fetch_frames as ours
from streams.kafka.fetch_frames import Limits, Place

NAMES = st.sampled_from(["a", "requests", "é" * 120])
INTS, LONGS, CODES = st.integers(-1, 2**31 - 1), st.integers(-1, 2**63 - 1), st.integers(-1, 120)
PARTITIONS = st.builds(TopicPartition, NAMES, st.integers(0, 2**31 - 1))
PLACES = st.dictionaries(PARTITIONS, st.builds(Place, LONGS, INTS, INTS), max_size=140)
LIMITS = st.builds(Limits, INTS, INTS, INTS, INTS)

_Topic = FetchRequest.FetchTopic
_Response = FetchResponse.FetchableTopicResponse
_Part = _Response.PartitionData


@given(st.tuples(INTS, INTS), PLACES, st.sets(PARTITIONS, max_size=5), LIMITS, st.sampled_from([0, 1]))
def test_a_fetch(
    session: tuple[int, int],
    places: dict[TopicPartition, Place],
    forgotten: set[TopicPartition],
    limits: Limits,
    isolation: int,
) -> None:
    """New places of any number of topics, and some that leave the session."""
    topics: dict[str, list[Any]] = {}
    for place, start in places.items():
        part = _Topic.FetchPartition(
            partition=place.partition,
            current_leader_epoch=start.leader_epoch,
            fetch_offset=start.offset,
            last_fetched_epoch=start.record_epoch,
            log_start_offset=-1,
            partition_max_bytes=limits.partition_max_bytes,
        )
        topics.setdefault(place.topic, []).append(part)
    left: dict[str, list[int]] = {}
    for place in forgotten:
        left.setdefault(place.topic, []).append(place.partition)
    request = FetchRequest(
        max_wait_ms=limits.max_wait_ms,
        min_bytes=limits.min_bytes,
        max_bytes=limits.max_bytes,
        isolation_level=isolation,
        session_id=session[0],
        session_epoch=session[1],
        topics=[_Topic(topic=name, partitions=parts) for name, parts in topics.items()],
        forgotten_topics_data=[
            FetchRequest.ForgottenTopic(topic=name, partitions=parts) for name, parts in left.items()
        ],
        rack_id="r1",
    )
    request.API_VERSION = 12
    request.with_header(correlation_id=7, client_id="me")
    expected = bytes(request.encode(framed=True, header=True))
    frame = ours.fetch(session, places, forgotten, limits=limits, isolation=isolation, rack="r1")
    assert frame.sealed(7, b"me") == expected


PARTS = st.fixed_dictionaries(
    {
        "partition_index": INTS,
        "error_code": CODES,
        "high_watermark": LONGS,
        "aborted": st.none() | st.lists(st.tuples(LONGS, LONGS), max_size=3),
        "preferred_read_replica": INTS,
        "records": st.none() | st.binary(max_size=400),
        "diverging": st.none() | st.tuples(INTS, st.integers(0, 2**40)),
        "leader": st.none() | st.tuples(INTS, st.integers(0, 2**20)),
    }
)


@given(CODES, INTS, st.dictionaries(NAMES, st.lists(PARTS, max_size=9), max_size=3))
def test_an_answer(code: int, session: int, topics: dict[str, list[dict[str, Any]]]) -> None:
    """Errors, aborted transactions, records, and what stands in tagged fields."""
    response = FetchResponse(
        throttle_time_ms=3,
        error_code=code,
        session_id=session,
        responses=[
            _Response(topic=name, partitions=[_written(part) for part in parts]) for name, parts in topics.items()
        ],
    )
    response.API_VERSION = 12
    found = ours.fetched(memoryview(b"head" + bytes(response.encode())), 4)
    assert (found.throttle_time_ms, found.error_code, found.session_id) == (3, code, session)
    assert [one.topic for one in found.responses] == list(topics)
    for one, parts in zip(found.responses, topics.values(), strict=True):
        assert [_read(part) for part in one.partitions] == [
            part | {"aborted": part["aborted"] or [], "records": part["records"] or b""} for part in parts
        ]


def _written(part: dict[str, Any]) -> Any:
    aborted = part["aborted"]
    optional: dict[str, Any] = {}
    if part["diverging"] is not None:
        epoch, end = part["diverging"]
        optional["diverging_epoch"] = _Part.EpochEndOffset(epoch=epoch, end_offset=end)
    if part["leader"] is not None:
        leader, epoch = part["leader"]
        optional["current_leader"] = _Part.LeaderIdAndEpoch(leader_id=leader, leader_epoch=epoch)
    return _Part(
        partition_index=part["partition_index"],
        error_code=part["error_code"],
        high_watermark=part["high_watermark"],
        last_stable_offset=5,
        log_start_offset=0,
        aborted_transactions=None
        if aborted is None
        else [_Part.AbortedTransaction(producer_id=producer, first_offset=first) for producer, first in aborted],
        preferred_read_replica=part["preferred_read_replica"],
        records=part["records"],
        **optional,
    )


def _read(part: ours.Part) -> dict[str, Any]:
    return {
        "partition_index": part.partition_index,
        "error_code": part.error_code,
        "high_watermark": part.high_watermark,
        "aborted": [tuple(one) for one in part.aborted_transactions],
        "preferred_read_replica": part.preferred_read_replica,
        "records": part.records,
        "diverging": None if part.diverging_epoch is None else tuple(part.diverging_epoch),
        "leader": None if part.current_leader is None else tuple(part.current_leader),
    }
