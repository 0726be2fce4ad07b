"""Waiting requests: each is resolved once, by its result, its time or the client's end."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import dataclass, field

import pytest

from streams import records
from streams.errors import ClientBusy, ClientClosed, MalformedResult, ResultTimeout
from streams.pending import Pending


class Clock:
    """Seconds that pass when told."""

    now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@dataclass
class Record:
    """A result as a consumer hands it out."""

    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    topic: str = "digits.results"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None


def result_of(request_id: str, error: str = "e") -> Record:
    """A failed result, which is a result too."""
    value, headers = records.encode_error(error)
    return Record(value, [*headers, ("request-id", request_id.encode())])


def pending(*, timeout_s: float = 10.0, most: int = 100, clock: Clock | None = None) -> Pending:
    """A table with a clock that stands still unless given one."""
    return Pending(timeout_s=timeout_s, most=most, clock=clock or Clock())


def test_a_result_resolves_its_request_alone() -> None:
    """The other request goes on waiting."""
    table = pending()
    first, second = table.add("a"), table.add("b")
    assert table.deliver(result_of("a"))
    assert first.result(0).error == "e"
    assert not second.done()


def test_a_result_given_twice_counts_once() -> None:
    """Of two deliveries the first stands; a result nobody waits for is passed over."""
    table = pending()
    future = table.add("a")
    assert table.deliver(result_of("a", "first"))
    assert not table.deliver(result_of("a", "second"))
    assert not table.deliver(result_of("stranger"))
    assert future.result(0).error == "first"


def test_results_of_others_cost_no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """All clients of a pipeline see all of its results: those of others must be cheap."""
    table = pending()
    table.add("a")
    monkeypatch.setattr("streams.pending.decode_result", None)
    assert not table.deliver(result_of("stranger"))


def test_a_result_of_other_hands_is_found_by_its_body() -> None:
    """Without our header the id in the body names the request; without either, nobody is named."""
    table = pending()
    future = table.add("a")
    assert not table.deliver(Record(b"not JSON"))
    assert not table.deliver(Record(None))
    assert table.deliver(Record(b'{"id": "a", "error": "e"}'))
    assert future.result(0).id == "a"


def test_a_result_that_cannot_be_read_fails_its_request() -> None:
    """The caller is told at once, rather than after its time is over."""
    table = pending()
    future = table.add("a")
    assert table.deliver(Record(b"not JSON", [("request-id", b"a")]))
    with pytest.raises(MalformedResult):
        future.result(0)


def test_requests_are_given_up_when_their_time_is_over() -> None:
    """Not a moment before it, and only those whose time it is."""
    clock = Clock()
    table = pending(timeout_s=10, clock=clock)
    early = table.add("early")
    clock.now_s = 5.0
    late = table.add("late")
    clock.now_s = 9.99
    table.expire()
    assert not early.done()
    clock.now_s = 10.0
    table.expire()
    with pytest.raises(ResultTimeout, match=r"early: no result after 10 s"):
        early.result(0)
    assert not late.done()
    assert len(table) == 1


def test_waiting_too_long_gives_nothing_up() -> None:
    """`result(timeout)` raises, and the result still arrives."""
    table = pending()
    future = table.add("a")
    with pytest.raises(ResultTimeout, match="request a"):
        future.result(0)
    table.deliver(result_of("a"))
    assert future.result(0).id == "a"


def test_the_end_fails_what_waits_and_refuses_what_comes() -> None:
    """Both say why; what was resolved before stays resolved."""
    table = pending()
    done, waits = table.add("done"), table.add("waits")
    table.deliver(result_of("done"))
    table.close(ClientClosed("closed by hand"))
    table.close(ClientClosed("closed again"))
    assert done.result(0).id == "done"
    with pytest.raises(ClientClosed, match="closed by hand"):
        waits.result(0)
    with pytest.raises(ClientClosed, match=r"later was not sent: closed by hand"):
        table.add("later")


def test_a_cancelled_request_harms_nobody() -> None:
    """Its result is passed over."""
    table = pending()
    future = table.add("a")
    assert future.cancel()
    assert not table.deliver(result_of("a"))
    with pytest.raises(CancelledError):
        future.result(0)


def test_two_requests_cannot_wait_under_one_id() -> None:
    """The second would get the first one's result."""
    table = pending()
    table.add("a")
    with pytest.raises(ValueError, match="request_id='a'"):
        table.add("a")
    table.discard("a")
    assert not table.add("a").done()


def test_only_so_many_may_wait() -> None:
    """The bound holds memory while no broker answers; a resolved request makes room."""
    table = pending(most=2)
    table.add("a")
    table.add("b")
    with pytest.raises(ClientBusy, match="max_pending"):
        table.add("c")
    table.deliver(result_of("a"))
    table.add("c")


def with_source(record: Record, source: str) -> Record:
    """The result of the request at a place."""
    record.headers.append(("source", source.encode()))
    return record


def test_a_repeat_is_counted_and_never_resolves_a_later_request_of_the_same_id() -> None:
    """Ids are the user's and may come again; the place of the request tells the two apart."""
    table = pending()
    first = table.add("a")
    assert table.deliver(with_source(result_of("a", "one"), "r/0/1"))
    again = table.add("a")
    assert not table.deliver(with_source(result_of("a", "one"), "r/0/1"))
    assert not again.done()
    assert table.deliver(with_source(result_of("a", "two"), "r/0/2"))
    assert (first.result(0).error, again.result(0).error, table.duplicates) == ("one", "two", 1)


def test_results_of_others_are_not_counted_as_repeats() -> None:
    """Only what this client has delivered can come again to it."""
    table = pending()
    for _ in range(2):
        assert not table.deliver(with_source(result_of("theirs"), "r/0/1"))
    assert table.duplicates == 0
