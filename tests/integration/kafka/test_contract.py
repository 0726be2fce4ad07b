"""What a worker relies on, of both client libraries, on one real broker."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from streams.data_path import open_consumer, open_results, open_transactions
from streams.errors import (
    BrokerUnavailable,
    Fenced,
    GenerationChanged,
    KafkaFailure,
    OutcomeUnknown,
    RecordTooLarge,
)
from streams.kafka import new_reader
from streams.records import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.kafka import KafkaSettings
    from tests.integration.kafka.conftest import Group

pytestmark = pytest.mark.services


@pytest.fixture(params=["kafka-python", "librdkafka"])
def library(request: pytest.FixtureRequest) -> str:
    """Each test once with each."""
    name: str = request.param
    return name


def visible(group: Group, count: int, *, wait_s: float = 10.0) -> list[Any]:
    """The results that a read-committed reader sees, once there are `count`, or the time is up."""
    found: list[Any] = []
    deadline = time.monotonic() + wait_s
    reader = new_reader(group.settings, [group.results], from_="earliest")
    try:
        while len(found) < count and time.monotonic() < deadline:
            found += [r for records in reader.poll(200).values() for r in records]
        while more := [r for records in reader.poll(300).values() for r in records]:
            found += more
    finally:
        reader.close()
    return found


def wait_committed(group: Group, expected: dict[int, int]) -> None:
    """Wait until these offsets are committed: the broker ends a transaction's part in a group a moment later."""
    group.wait(
        lambda: expected.items() <= group.admin.committed(group.name, group.requests).items(), f"offsets {expected}"
    )


@pytest.fixture
def transactions(group: Group) -> Iterator[Any]:
    """A transactional producer."""
    producer = open_transactions(
        group.settings, transactional_id=f"{group.name}-x", timeout_ms=10_000, max_request_bytes=100_000
    )
    yield producer
    producer.discard()


def answer(group: Group, value: bytes, **changes: Any) -> Outgoing:
    """A result."""
    return dataclasses.replace(Outgoing(group.results, None, value, []), **changes)


def membership(group: Group) -> Any:
    """Of a member of the group that owns all partitions."""
    member = group.start("one")
    group.wait_shares({"one": 12})
    return member.consumer.metadata()


def test_records_come_as_they_were_sent(group: Group) -> None:
    """In order, with key, value, time and headers; empty, absent and repeated ones too, and names that are no text."""
    sent = [
        (b"k", b"v", 1_700_000_000_123, [("a", b"1"), ("a", b"2"), ("empty", b"")]),
        (None, b"", 1_700_000_000_124, []),
        (b"", None, 1_700_000_000_125, [("null", None)]),
    ]
    other = Producer({"bootstrap.servers": group.settings.servers[0]})
    for key, value, at_ms, headers in sent:
        # kafka-python's own producer knows no null values.
        other.produce(group.requests, value, key, headers=headers, partition=3, timestamp=at_ms)
        other.flush()
    member = group.start("one", keep=True)
    group.wait(lambda: len(member.keep) == len(sent), "records")
    got = [(r.key, r.value, r.timestamp, r.headers) for r in member.keep]
    assert got == sent
    assert [(r.topic, r.partition, r.offset) for r in member.keep] == [(group.requests, 3, n) for n in range(3)]


def test_a_transaction_is_visible_whole(group: Group, transactions: Any) -> None:
    """Records with all they carry, by given partition or by key as Kafka's own clients place it, and the offsets."""
    group_metadata = membership(group)
    records = [
        answer(group, b"one", key=b"k", headers=[("h", b"1")], partition=5, timestamp_ms=1_700_000_000_000),
        answer(group, b"two", key=b"some-key"),
        answer(group, b"", headers=[("request-id", b"r")]),
    ]
    transactions.send(records, topic=group.requests, group=group_metadata, offsets={0: 7, 4: 9})
    found = {r.value: r for r in visible(group, 3)}
    assert found[b"one"].partition == 5
    assert (found[b"one"].key, found[b"one"].headers) == (b"k", [("h", b"1")])
    assert found[b"one"].timestamp == 1_700_000_000_000
    group.producer.send(group.requests, key=b"some-key", value=b"x")
    same = group.producer.send(group.requests, key=b"some-key", value=b"x").get(timeout=10)
    assert found[b"two"].partition == same.partition
    assert found[b""].headers == [("request-id", b"r")]
    wait_committed(group, {0: 7, 4: 9})
    assert group.admin.committed(group.name, group.requests)[1] is None


def test_offsets_alone_and_records_alone(group: Group, transactions: Any) -> None:
    """Either may be empty: dropped requests, and replays."""
    group_metadata = membership(group)
    transactions.send([], topic=group.requests, group=group_metadata, offsets={2: 3})
    wait_committed(group, {2: 3})
    transactions.send([answer(group, b"x")], topic=group.requests, group=group_metadata, offsets={})
    assert [r.value for r in visible(group, 1)] == [b"x"]


def test_a_record_that_is_too_large_takes_nothing_with_it(group: Group, transactions: Any) -> None:
    """The error says which one; the next transaction goes through."""
    group_metadata = membership(group)
    records = [answer(group, b"small"), answer(group, b"x" * 200_000), answer(group, b"small")]
    with pytest.raises(RecordTooLarge) as caught:
        transactions.send(records, topic=group.requests, group=group_metadata, offsets={0: 1})
    assert caught.value.index == 1
    transactions.send([answer(group, b"next")], topic=group.requests, group=group_metadata, offsets={0: 2})
    assert [r.value for r in visible(group, 1)] == [b"next"]
    wait_committed(group, {0: 2})


def test_a_commit_under_an_old_generation_shows_nothing(group: Group, transactions: Any) -> None:
    """After a rebalance the metadata of before is refused; the same producer goes on under the new one."""
    before = membership(group)
    group.start("two")
    group.wait_shares({"one": 6, "two": 6})
    with pytest.raises(GenerationChanged):
        transactions.send([answer(group, b"late")], topic=group.requests, group=before, offsets={0: 1})
    now = group.members["one"].consumer.metadata()
    transactions.send([answer(group, b"in time")], topic=group.requests, group=now, offsets={0: 2})
    assert [r.value for r in visible(group, 1)] == [b"in time"]
    wait_committed(group, {0: 2})


def test_a_second_producer_of_the_name_ends_the_first(group: Group, transactions: Any) -> None:
    """The elder's transaction fails without a trace, its outcome unknown to it; `recover` takes the name back."""
    group_metadata = membership(group)
    transactions.send([answer(group, b"first")], topic=group.requests, group=group_metadata, offsets={0: 1})
    younger = open_transactions(
        group.settings, transactional_id=f"{group.name}-x", timeout_ms=10_000, max_request_bytes=100_000
    )
    with pytest.raises(OutcomeUnknown):
        transactions.send([answer(group, b"fenced")], topic=group.requests, group=group_metadata, offsets={0: 2})
    younger.send([answer(group, b"second")], topic=group.requests, group=group_metadata, offsets={0: 2})
    transactions.recover()
    transactions.send([answer(group, b"third")], topic=group.requests, group=group_metadata, offsets={0: 3})
    younger.discard()
    assert [r.value for r in sorted(visible(group, 3), key=lambda r: r.timestamp)] == [b"first", b"second", b"third"]


def test_members_come_and_go_and_each_request_is_answered_once(group: Group) -> None:
    """Shares are even, revoked partitions are drained first, and what stays is not told to anybody."""
    with group.load():
        first = group.start("a")
        group.wait_shares({"a": 12})
        for name in "bc":
            group.start(name)
        group.wait_shares({"a": 4, "b": 4, "c": 4})
        assert [what for what, _ in first.holdings.told].count("assigned") == 1
        taken = [numbers for what, numbers in first.holdings.told if what == "revoked"]
        assert sum(map(len, taken)) == 8
        group.leave("b")
        group.wait_shares({"a": 6, "c": 6})
    assert group.answers() == group.expected()


def test_a_revocation_waits_for_what_is_in_hand(group: Group) -> None:
    """No longer than it may: a batch that takes for ever loses its partitions, and its answer does not count."""
    one = group.start("one")
    group.wait_shares({"one": 12})
    slow = one.holdings
    began: list[float] = []
    held = slow.take(0)
    assert held is not None
    group.start("two")
    group.wait(lambda: any(what == "revoking" for what, _ in slow.told), "revoking")
    began.append(time.monotonic())
    assert slow.take(11) is None or slow.take(0) is None
    group.wait(lambda: any(what == "revoked" for what, _ in slow.told), "revoked")
    waited_s = time.monotonic() - began[0]
    taken = next(numbers for what, numbers in slow.told if what == "revoked")
    # Two seconds is the limit that members of these tests have.
    assert waited_s < 4.0
    assert 0 not in taken or (waited_s > 1.0 and not slow.owns(0, held))
    slow.settle([0])
    group.wait_shares({"one": 6, "two": 6})


def test_a_static_member_that_restarts_keeps_its_partitions(group: Group) -> None:
    """Within the session's time-out nobody else is told anything."""
    for name in "ab":
        group.start(name)
    group.wait_shares({"a": 6, "b": 6})
    before, told = group.placement(), list(group.members["a"].holdings.told)
    group.members.pop("b").stop()
    group.start("b")
    group.wait_shares({"a": 6, "b": 6})
    assert group.placement() == before
    assert group.members["a"].holdings.told == told


def test_a_double_of_a_name_stops_the_elder(group: Group) -> None:
    """By itself, within seconds, though there is nothing to do."""
    elder = group.start("twin")
    group.wait_shares({"twin": 12})
    younger = group.start("twin")
    deadline = time.monotonic() + 5
    while elder.failure is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert isinstance(elder.failure, Fenced), elder.failure
    assert "another process" in str(elder.failure)
    group.wait(lambda: len(younger.partitions) == 12, "the younger has them")
    elder.consumer.close()


def test_a_pause_holds_records_back_and_a_new_partition_too(group: Group) -> None:
    """Nothing comes while paused, however long; then all of it, in order."""
    one, two = group.start("one"), group.start("two")
    group.wait_shares({"one": 6, "two": 6})
    one.keep = []
    one.paused = True
    group.wait(lambda: one.paused_polls > 3, "paused")
    group.leave("two")
    group.wait_shares({"one": 12})
    group.send(120)
    group.producer.flush()
    assert two.failure is None
    more = one.paused_polls + 30
    group.wait(lambda: one.paused_polls > more, "more polls")
    assert one.keep == []
    one.paused = False
    group.wait(lambda: len(one.keep) == 120, "all of it")
    for number in range(12):
        assert [r.offset for r in one.keep if r.partition == number] == list(range(10))


def test_results_outside_transactions_are_acknowledged_or_refused(group: Group) -> None:
    """Many at once, by partition and by key, in order, with all they carry; and again after one that was too large."""
    writer = open_results(group.settings, "test-results")
    placed = [
        Outgoing(group.results, b"k", b"%d" % n, [("h", b"v")], n % 12, 1_700_000_000_000 + n) for n in range(240)
    ]
    writer.write(placed)
    with pytest.raises(RecordTooLarge):
        writer.write([Outgoing(group.results, None, b"x" * 2_000_000, [], 0)])
    writer.idle()
    keyed = [Outgoing(group.results, b"some key", b"key %d" % n, []) for n in range(50)]
    writer.write(keyed)
    writer.close()
    found = visible(group, 290)
    assert len(found) == 290
    for number in range(12):
        own = [r for r in found if r.partition == number and not r.value.startswith(b"key")]
        assert [r.value for r in own] == [one.value for one in placed[number::12]]
        assert all(tuple(r.headers) == (("h", b"v"),) and r.key == b"k" for r in own)
        assert [r.timestamp for r in own] == [one.timestamp_ms for one in placed[number::12]]
    together = [r for r in found if r.value.startswith(b"key")]
    assert [r.value for r in together] == [one.value for one in keyed]
    assert len({r.partition for r in together}) == 1


def test_what_is_wrong_at_the_start_is_said(group: Group) -> None:
    """No broker, no topic, a security setting that is misspelt: each its own error with its cure."""

    def consumer(settings: KafkaSettings, topic: str) -> Any:
        return open_consumer(
            settings,
            topic=topic,
            group="nobody",
            instance_id="nobody-0",
            hooks=None,  # type: ignore[arg-type] # never told: nobody joins
            session_timeout_ms=6000,
            revoke_drain_s=1,
            max_poll_records=10,
            capacity=lambda: None,  # type: ignore[arg-type,return-value] # never asked: nobody joins
            meanwhile=lambda: None,
        )

    away = dataclasses.replace(group.settings, bootstrap_servers="127.0.0.1:1", bootstrap_timeout_ms=500)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        open_transactions(away, transactional_id="t", timeout_ms=5000, max_request_bytes=1000)
    misspelt = dataclasses.replace(group.settings, client={"check_crc": True})
    with pytest.raises(KafkaFailure, match="check_crc"):
        open_transactions(misspelt, transactional_id="t", timeout_ms=5000, max_request_bytes=1000)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        consumer(away, group.requests)


def test_order_within_a_partition_holds_across_transactions(group: Group) -> None:
    """Results of one partition come in the order of its requests."""
    group.start("one")
    group.send(1200)
    assert group.answers() == group.expected()
    by_partition: dict[str, list[int]] = {}
    for record in visible(group, 1200):
        number, offset = record.value.decode().split("/")
        by_partition.setdefault(number, []).append(int(offset))
    assert all(sorted(offsets) == list(range(100)) for offsets in by_partition.values())
