"""Our requests are kafka-python's byte for byte, and we read in its answers what it reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.producer import (
    EndTxnRequest,
    EndTxnResponse,
    ProduceRequest,
    ProduceResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
)

from streams.kafka import transaction_frames as ours
from streams.kafka.frames import Frame, read_unsigned, unsigned
from streams.kafka.transaction_frames import Ended, Member, Sealed

NAMES = st.text(max_size=200)
IDS, EPOCHS = st.integers(-1, 2**63 - 1), st.integers(-1, 2**15 - 1)
INTS, CODES = st.integers(-1, 2**31 - 1), st.integers(-1, 120)
PLACES = st.dictionaries(INTS, st.integers(0, 2**63 - 1), max_size=140)


def theirs(request: Any, version: int) -> bytes:
    """What kafka-python would send, head and all."""
    request.API_VERSION = version
    request.with_header(correlation_id=7, client_id="me")
    return bytes(request.encode(framed=True, header=True))


def sent(frame: Frame) -> bytes:
    """What we would send."""
    return frame.sealed(7, b"me")


def read(response: Any, version: int) -> memoryview:
    """An answer's body, as kafka-python writes it."""
    response.API_VERSION = version
    return memoryview(bytes(response.encode()))


@given(st.integers(0, 2**35))
def test_a_number_is_read_as_it_was_written(value: int) -> None:
    """Base 128, up to 35 bits: the sizes that occur."""
    raw = unsigned(value)
    assert read_unsigned(raw + b"\x81", 0) == (value, len(raw))


@given(
    NAMES,
    INTS,
    st.lists(
        st.tuples(st.sampled_from(["a", "results", "x" * 200]), st.integers(0, 9), st.binary(max_size=400)),
        max_size=8,
        unique_by=lambda one: one[:2],
    ),
)
def test_a_produce_request(name: str, timeout_ms: int, batches: list[tuple[str, int, bytes]]) -> None:
    """Any batches of several topics."""
    topics: dict[str, list[Any]] = {}
    for topic, partition, raw in batches:
        part = ProduceRequest.TopicProduceData.PartitionProduceData(index=partition, records=raw)
        topics.setdefault(topic, []).append(part)
    request = ProduceRequest(
        transactional_id=name,
        acks=-1,
        timeout_ms=timeout_ms,
        topic_data=[ProduceRequest.TopicProduceData(name=t, partition_data=p) for t, p in topics.items()],
    )
    assert sent(ours.produce(name, [Sealed(*one) for one in batches], timeout_ms)) == theirs(request, 12)


@given(NAMES, IDS, EPOCHS, st.builds(Member, NAMES, INTS, NAMES, st.none() | NAMES), PLACES)
def test_an_offset_commit(name: str, producer: int, epoch: int, member: Member, offsets: dict[int, int]) -> None:
    """Any membership, and more partitions than a byte can count."""
    topic_kind = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
    parts = [
        topic_kind.TxnOffsetCommitRequestPartition(
            partition_index=partition, committed_offset=offset, committed_leader_epoch=-1, committed_metadata=""
        )
        for partition, offset in offsets.items()
    ]
    request = TxnOffsetCommitRequest(
        transactional_id=name,
        group_id=member.group_id,
        producer_id=producer,
        producer_epoch=epoch,
        generation_id=member.generation_id,
        member_id=member.member_id,
        group_instance_id=member.group_instance_id,
        topics=[topic_kind(name="in", partitions=parts)],
    )
    frame = ours.offsets(name, producer, epoch, member, topic="in", next_offsets=offsets)
    assert sent(frame) == theirs(request, 5)


@given(NAMES, IDS, EPOCHS, st.booleans())
def test_an_end(name: str, producer: int, epoch: int, committed: bool) -> None:
    """A commit, or an abort."""
    request = EndTxnRequest(transactional_id=name, producer_id=producer, producer_epoch=epoch, committed=committed)
    assert sent(ours.end(name, producer, epoch, committed=committed)) == theirs(request, 5)


@given(
    st.dictionaries(
        NAMES, st.lists(st.tuples(INTS, CODES, st.none() | NAMES, st.lists(NAMES, max_size=3)), max_size=9), max_size=4
    )
)
def test_the_answer_to_a_produce_request(topics: dict[str, list[tuple[int, int, str | None, list[str]]]]) -> None:
    """Codes are found among words about records and batches."""
    kind = ProduceResponse.TopicProduceResponse
    part_kind = kind.PartitionProduceResponse
    response = ProduceResponse(
        responses=[
            kind(
                name=topic,
                partition_responses=[
                    part_kind(
                        index=partition,
                        error_code=code,
                        base_offset=1,
                        log_append_time_ms=-1,
                        log_start_offset=0,
                        record_errors=[
                            part_kind.BatchIndexAndErrorMessage(batch_index=3, batch_index_error_message=one)
                            for one in reasons
                        ],
                        error_message=message,
                    )
                    for partition, code, message, reasons in parts
                ],
            )
            for topic, parts in topics.items()
        ],
        throttle_time_ms=0,
    )
    expected = [(topic, part[0], part[1]) for topic, parts in topics.items() for part in parts]
    assert ours.produced(read(response, 12), 0) == expected


@given(st.dictionaries(NAMES, st.lists(st.tuples(INTS, CODES), max_size=9), max_size=4))
def test_the_answer_to_an_offset_commit(topics: dict[str, list[tuple[int, int]]]) -> None:
    """All codes of all partitions."""
    kind = TxnOffsetCommitResponse.TxnOffsetCommitResponseTopic
    response = TxnOffsetCommitResponse(
        throttle_time_ms=0,
        topics=[
            kind(
                name=topic,
                partitions=[
                    kind.TxnOffsetCommitResponsePartition(partition_index=partition, error_code=code)
                    for partition, code in parts
                ],
            )
            for topic, parts in topics.items()
        ],
    )
    assert ours.offsets_errors(read(response, 5), 0) == {code for parts in topics.values() for _, code in parts}


@given(CODES, IDS, EPOCHS)
def test_the_answer_to_an_end(code: int, producer: int, epoch: int) -> None:
    """The code, and who goes on."""
    facts = SimpleNamespace(throttle_time_ms=0, error_code=code, producer_id=producer, producer_epoch=epoch)
    assert ours.ended(read(EndTxnResponse(**vars(facts)), 5), 0) == Ended(code, producer, epoch)
