"""The ledger of a fault matrix on forged records: each kind of violation is seen, and by its own name."""

from __future__ import annotations

import dataclasses

import pytest

from penstock.verify.ledger import Result, Sent, Verdict, Written, settle
from penstock.verify.load import is_right, request_id, run_of, tensor

PARTITIONS, EACH = 3, 20


def ids(partition: int) -> list[str]:
    """Requests of one partition in their order."""
    return [request_id("s", 1, partition, number) for number in range(EACH)]


def sent() -> list[Sent]:
    """All requests, one each 0.1 s, partitions in turn."""
    return [
        Sent(name, partition, number + partition / PARTITIONS, acknowledged=True)
        for number in range(EACH)
        for partition in range(PARTITIONS)
        for name in [ids(partition)[number]]
    ]


def written() -> list[Written]:
    """The requests topic of a clean run."""
    return [Written(name, partition) for partition in range(PARTITIONS) for name in ids(partition)]


def results() -> list[Result]:
    """The results topic of a clean run."""
    return [Result(record.request_id, record.partition, "ok", right=True) for record in written()]


def verdict(
    requests: list[Sent] | None = None, topic: list[Written] | None = None, found: list[Result] | None = None
) -> Verdict:
    """The verdict on a run that is clean but for what is given; each result is seen 0.05 s after its request."""
    known = sent() if requests is None else requests
    answers = results() if found is None else found
    at_s = {request.request_id: request.intended_at_s + 0.05 for request in sent()}
    return settle(
        known,
        written=written() if topic is None else topic,
        results=answers,
        seen_at_s={result.request_id: at_s[result.request_id] for result in answers if result.request_id in at_s},
        until_s=EACH + 1.0,
    )


def test_a_clean_run_is_clean() -> None:
    """Each request answered once, in order, right."""
    found = verdict()
    assert found.clean
    assert (found.sent, found.ok, found.unsent, found.sent_twice) == (PARTITIONS * EACH, PARTITIONS * EACH, 0, 0)
    assert found.unavailable_s == pytest.approx(0.05)


def test_a_missing_result_is_lost() -> None:
    """And the partition counts as silent from its request on, since nothing else was waiting."""
    name = ids(1)[-1]
    found = verdict(found=[result for result in results() if result.request_id != name])
    assert (found.lost, found.clean) == ((name,), False)
    assert found.ok == PARTITIONS * EACH - 1
    assert found.unavailable_s == pytest.approx(EACH + 1.0 - (EACH - 1 + 1 / PARTITIONS))


def test_a_result_that_nobody_saw_in_time_is_late() -> None:
    """It stands in the topic at the end, but the live reader had not seen it by the deadline."""
    name = ids(1)[3]
    seen = {one.request_id: one.intended_at_s + 0.05 for one in sent() if one.request_id != name}
    found = settle(sent(), written=written(), results=results(), seen_at_s=seen, until_s=EACH + 1.0)
    assert (found.late, found.lost, found.clean) == ((name,), (), False)


def test_a_request_in_the_topic_counts_though_its_acknowledgement_was_lost() -> None:
    """The broker has it, so its result is due."""
    name = ids(0)[3]
    requests = [dataclasses.replace(one, acknowledged=one.request_id != name) for one in sent()]
    assert verdict(requests).sent == PARTITIONS * EACH
    assert verdict(requests, found=[one for one in results() if one.request_id != name]).lost == (name,)


def test_a_request_that_never_reached_the_broker_is_no_loss() -> None:
    """It is counted as not sent and nowhere else."""
    name = ids(0)[3]
    requests = [dataclasses.replace(one, acknowledged=one.request_id != name) for one in sent()]
    found = verdict(
        requests,
        [record for record in written() if record.request_id != name],
        [one for one in results() if one.request_id != name],
    )
    assert found.clean
    assert (found.sent, found.unsent) == (PARTITIONS * EACH - 1, 1)


def test_an_acknowledged_request_that_the_topic_lost_is_lost() -> None:
    """A broker that forgets what it acknowledged does not excuse anybody."""
    name = ids(2)[5]
    found = verdict(
        topic=[record for record in written() if record.request_id != name],
        found=[one for one in results() if one.request_id != name],
    )
    assert found.lost == (name,)


def test_a_second_result_is_a_duplicate_and_no_disorder() -> None:
    """Wherever it stands."""
    name = ids(1)[4]
    found = verdict(found=[*results(), Result(name, 1, "ok", right=True)])
    assert (found.duplicated, found.out_of_order) == ((name,), ())


def test_the_senders_own_double_is_no_duplicate() -> None:
    """Two requests of one id in the topic deserve two results; three are one too many."""
    name = ids(1)[4]
    twice = [*written(), Written(name, 1)]
    answers = [*results(), Result(name, 1, "ok", right=True)]
    found = verdict(topic=twice, found=answers)
    assert (found.clean, found.sent_twice) == (True, 1)
    assert verdict(topic=twice, found=[*answers, answers[-1]]).duplicated == (name,)


def test_swapped_results_are_out_of_order() -> None:
    """The one that comes late is named."""
    swapped = results()
    swapped[3], swapped[4] = swapped[4], swapped[3]
    assert verdict(found=swapped).out_of_order == (ids(0)[3],)


def test_order_is_that_of_the_requests_topic() -> None:
    """If the sender's requests stand there in another order, results follow the topic and not the sender."""
    topic = written()
    topic[3], topic[4] = topic[4], topic[3]
    answers = results()
    answers[3], answers[4] = answers[4], answers[3]
    assert verdict(topic=topic, found=answers).clean
    assert verdict(topic=topic).out_of_order == (ids(0)[4],)


def test_a_result_in_another_partition_is_out_of_order() -> None:
    """Who follows the partition of a request would never see it."""
    name = ids(0)[7]
    moved = [dataclasses.replace(one, partition=2) if one.request_id == name else one for one in results()]
    assert verdict(found=moved).out_of_order == (name,)


def test_failed_wrong_and_unknown_results_are_told_apart() -> None:
    """And none of them is `ok`."""
    failed, wrong = ids(0)[0], ids(0)[1]
    answers = [
        Result(failed, 0, "failed", right=False),
        Result(wrong, 0, "ok", right=False),
        *results()[2:],
        Result("nobody", 0, "ok", right=True),
    ]
    found = verdict(found=answers)
    assert (found.failed, found.wrong, found.unknown) == ((failed,), (wrong,), ("nobody",))
    assert (found.ok, found.lost) == (PARTITIONS * EACH - 2, ())


def test_ids_carry_run_and_value() -> None:
    """The answer to a request can be told from that of any other, without a table of what was sent."""
    name = request_id("ab-c", 12, 7, 1_000_000)
    assert run_of(name) == 12
    assert run_of("someone-else") == run_of("a-b-c-d") == -1
    assert is_right(name, {"y": 2 * tensor(12, 7, 1_000_000)})
    assert not is_right(name, {"y": 2 * tensor(12, 7, 1_000_001)})
    assert not is_right(name, {"z": 2 * tensor(12, 7, 1_000_000)})
    assert not is_right("nobody", {"y": 2 * tensor(12, 7, 1)})
