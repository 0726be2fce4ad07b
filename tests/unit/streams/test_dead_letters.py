"""Dead letters: the request byte for byte, what happened beside it, and the way back."""

from __future__ import annotations

import string
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import dead_letters, topics
from streams.errors import InvalidPipelineName, ReasonCode
from streams.headers import Headers, header


@dataclass
class Record:
    """A record as a consumer hands it out."""

    value: bytes | None = b"v"
    key: bytes | None = b"k"
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    topic: str = "digits.requests"
    partition: int = 3
    offset: int = 41
    timestamp: int = 1_700_000_000_123


records = st.builds(
    Record,
    value=st.none() | st.binary(max_size=50),
    key=st.none() | st.binary(max_size=20),
    headers=st.lists(
        st.tuples(st.text(string.ascii_lowercase, min_size=1, max_size=8), st.binary(max_size=8)), max_size=4
    ),
    partition=st.integers(min_value=0, max_value=99),
    offset=st.integers(min_value=0, max_value=2**62),
    timestamp=st.integers(min_value=0, max_value=2**42),
)


def letter_of(record: Record, message: str = "why") -> Record:
    """The dead letter of a record, as it would be consumed."""
    out = dead_letters.dead_letter(record, reason=ReasonCode.BAD_DATA, message=message, stage="decode", attempts=1)
    return Record(out.value, out.key, out.headers, out.topic, out.partition or 0, 0, out.timestamp_ms or 0)


@given(records)
def test_the_request_is_in_its_letter_byte_for_byte(record: Record) -> None:
    """Key, value, timestamp and headers are the request's; ours come after them."""
    letter = letter_of(record)
    assert (letter.key, letter.value, letter.timestamp) == (record.key, record.value or b"", record.timestamp)
    assert letter.headers[: len(record.headers)] == record.headers
    assert (letter.topic, letter.partition) == ("digits.dead-letters", record.partition)


@given(records)
def test_a_letter_replays_as_its_request(record: Record) -> None:
    """What was a request becomes that request again, a null value included, with a count of its tries beside it."""
    again = dead_letters.replay(letter_of(record), "digits.requests", 3)
    # Clients cannot write a record with neither key nor value.
    value = b"" if record.value is None and record.key is None else record.value
    assert (again.key, again.value) == (record.key, value)
    assert again.headers == [*record.headers, ("dlq-attempts", b"1")]
    assert (again.topic, again.partition, again.timestamp_ms) == ("digits.requests", 3, None)


def test_a_letter_without_its_value_says_how_large_it_was() -> None:
    """It has all but the value, which no topic took."""
    asked = Record(b"x" * 3000, headers=[("request-id", b"a")])
    letter = dead_letters.dead_letter(
        asked, reason="record-too-large", message="m", stage="decode", attempts=1, cut=True
    )
    assert (letter.key, letter.value) == (b"k", b"")
    assert ("dlq-cut", b"3000") in letter.headers
    assert ("request-id", b"a") in letter.headers


def test_attempts_are_counted_over_replays() -> None:
    """Each failure after a replay counts one more; what is no number counts from the start."""
    record = Record()
    for tries in range(1, 5):
        attempts = dead_letters.attempts_before(record.headers) + 1
        assert attempts == tries
        out = dead_letters.dead_letter(record, reason="x", message="m", stage="model", attempts=attempts)
        assert header(out.headers, "dlq-attempts") == b"%d" % tries
        again = dead_letters.replay(Record(headers=out.headers), "digits.requests")
        assert [value for name, value in again.headers if name == "dlq-attempts"] == [b"%d" % tries]
        record = Record(headers=again.headers)
    for odd in (b"", b"-3", b"many", b"9" * 30, b"\xff"):
        assert dead_letters.attempts_before([("dlq-attempts", odd)]) == 0


def test_a_deadline_may_be_left_out() -> None:
    """The one header of the request's own that a replay may drop, when asked."""
    letter = letter_of(Record(headers=[("deadline-ms", b"1"), ("mine", b"2"), ("deadline-ms", b"3")]))
    assert dead_letters.replay(letter, "t", deadline=False).headers == [("mine", b"2"), ("dlq-attempts", b"1")]
    assert len(dead_letters.replay(letter, "t").headers) == 4


def test_a_letter_says_what_happened() -> None:
    """Reason, message, stage, attempts and source are headers."""
    found = dict(letter_of(Record()).headers)
    assert found == {
        "dlq-reason": b"bad-data",
        "dlq-message": b"why",
        "dlq-stage": b"decode",
        "dlq-attempts": b"1",
        "dlq-source": b"digits.requests/3/41",
    }


def test_a_second_failure_replaces_the_first() -> None:
    """A replayed request that fails again has one reason, its last."""
    once = letter_of(Record(), "first")
    twice = letter_of(Record(headers=[*once.headers, ("mine", b"1")]), "second")
    assert [value for name, value in twice.headers if name == "dlq-message"] == [b"second"]
    assert header(twice.headers, "mine") == b"1"


def test_any_message_fits_into_a_header() -> None:
    """Long messages are cut between characters, and half a surrogate pair does not stop a letter."""
    told = header(letter_of(Record(), "a" + "ü" * 5000).headers, "dlq-message") or b""
    assert told.decode() == "a" + "ü" * (dead_letters.LONGEST_MESSAGE // 2 - 1)
    assert header(letter_of(Record(), "a\ud800").headers, "dlq-message") == b"a\\ud800"


def test_null_headers_and_unknown_times_can_be_written() -> None:
    """What clients can read but not write becomes the nearest that they can."""
    odd: Headers = [("n", None)]
    out = dead_letters.dead_letter(
        Record(headers=odd, timestamp=-1),  # type: ignore[arg-type] # what the wire allows and the type does not say
        reason="x",
        message="m",
        stage="model",
        attempts=2,
    )
    assert out.headers[0] == ("n", b"")
    assert out.timestamp_ms is None


@pytest.mark.parametrize(("stage", "attempts"), [("later", 1), ("model", 0)])
def test_impossible_stories_are_refused(stage: str, attempts: int) -> None:
    """A stage that there is not, or a failure without an attempt, is a mistake of the caller's."""
    with pytest.raises(ValueError, match=r"stage=|attempts="):
        dead_letters.dead_letter(Record(), reason="x", message="m", stage=stage, attempts=attempts)


def test_pipelines_and_topics_name_each_other() -> None:
    """A requests topic leads back to its pipeline, and no other topic does."""
    assert topics.pipeline_of(topics.requests("digits-2")) == "digits-2"
    for topic in ("digits.results", "digits", ".requests", "Digits.requests"):
        with pytest.raises(InvalidPipelineName):
            topics.pipeline_of(topic)


@pytest.mark.parametrize("name", ["", "Digits", "a.b", "a_b", "ä", "a" * 201, "a\n"])
def test_other_names_are_no_pipelines(name: str) -> None:
    """Names that topics, keys or file names could not be made of are refused with what is allowed."""
    with pytest.raises(InvalidPipelineName, match="a-z, 0-9"):
        topics.validate_pipeline_name(name)


def test_topics_of_a_pipeline() -> None:
    """The names are the ones on the wire."""
    names = (topics.requests("d"), topics.results("d"), topics.dead_letters("d"), topics.group("d"), topics.TELEMETRY)
    assert names == ("d.requests", "d.results", "d.dead-letters", "penstock.d", "penstock.telemetry")


@pytest.mark.parametrize(
    ("field_name", "value"), [("partitions", 0), ("replication_factor", 0), ("min_in_sync", 2), ("retention_hours", 0)]
)
def test_topic_settings_out_of_range_are_refused(field_name: str, value: int) -> None:
    """The message names the field, its value and what is allowed."""
    with pytest.raises(ValueError, match=f"topics.{field_name}={value}"):
        topics.TopicSettings(**{field_name: value})


def test_a_letter_fits_where_its_request_did() -> None:
    """The topic of dead letters takes the largest request and our headers."""
    specs = topics.topic_specs("d", topics.TopicSettings())
    room = int(specs["d.dead-letters"].config["max.message.bytes"]) - int(
        specs["d.requests"].config["max.message.bytes"]
    )
    assert room > dead_letters.LONGEST_MESSAGE + 1024
