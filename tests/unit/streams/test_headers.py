"""Request headers: read leniently where nothing is at stake, refused where a guess would answer the wrong thing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import MalformedRequest, ReasonCode
from streams.headers import RequestHeaders, request_id_of

NAMES = [
    "request-id",
    "deadline-ms",
    "model-version",
    "traceparent",
    "reply-to",
    "content-type",
    "inference-header-content-length",
]


def test_all_headers_are_read() -> None:
    """Each header lands in its field."""
    found = RequestHeaders.parse(
        [
            ("request-id", "größe".encode()),
            ("deadline-ms", b"1700000000123"),
            ("model-version", b"3"),
            ("traceparent", b"00-ab-cd-01"),
            ("reply-to", b"mine.results"),
            ("content-type", b"Application/JSON; charset=utf-8"),
            ("inference-header-content-length", b"17"),
            ("other", b"\xff"),
        ]
    )
    assert found == RequestHeaders(
        "größe", 1_700_000_000_123, "3", "00-ab-cd-01", "mine.results", "application/json", 17
    )


@pytest.mark.parametrize("headers", [None, [], [("x", b"y")], [("request-id", None), ("deadline-ms", b"")]])
def test_nothing_said_is_nothing_known(headers: Any) -> None:
    """Absent, null and empty headers are all None."""
    assert RequestHeaders.parse(headers) == RequestHeaders()


def test_the_last_of_two_counts() -> None:
    """As in Kafka's own clients; an empty one does not count."""
    headers = [("request-id", b"a"), ("request-id", b"b"), ("request-id", b"")]
    assert RequestHeaders.parse(headers).request_id == "b"
    assert request_id_of(headers[:2], None, "t", 0, 0) == "b"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request-id", b"\xff"),
        ("request-id", b"x" * 513),
        ("deadline-ms", b"soon"),
        ("deadline-ms", b"-1"),
        ("deadline-ms", b"1.5"),
        ("deadline-ms", b"9" * 19),
        ("deadline-ms", "٣".encode()),
        ("model-version", b"../1"),
        ("model-version", b"1 "),
        ("reply-to", b"no spaces"),
        ("reply-to", b"__consumer_offsets"),
        ("reply-to", b"penstock.telemetry"),
        ("reply-to", b"digits.requests"),
        ("reply-to", b"digits.dead-letters"),
        ("reply-to", b".."),
    ],
)
def test_values_that_cannot_be_used_are_refused(name: str, value: bytes) -> None:
    """Among them a reply-to that would feed results into requests or into the autoscaler."""
    with pytest.raises(MalformedRequest, match=name) as refused:
        RequestHeaders.parse([(name, value)])
    assert refused.value.code is ReasonCode.BAD_HEADER


def test_a_broken_trace_is_no_reason_to_refuse() -> None:
    """Tracing must not cost an answer."""
    assert RequestHeaders.parse([("traceparent", b"\xff"), ("request-id", b"r")]) == RequestHeaders("r")
    # One that is too long is not carried: a result of it might not fit its topic.
    assert RequestHeaders.parse([("traceparent", b"0" * 513), ("request-id", b"r")]) == RequestHeaders("r")


header_lists = st.lists(
    st.tuples(st.sampled_from(NAMES) | st.text(max_size=5), st.none() | st.binary(max_size=20)), max_size=6
)


@given(header_lists)
def test_arbitrary_headers_are_refused_and_nothing_else(headers: Any) -> None:
    """No headers raise anything but MalformedRequest, and each record still has an id to be answered under."""
    try:
        RequestHeaders.parse(headers)
    except MalformedRequest as error:
        assert error.message.encode()  # noqa: PT017 - either end is right; this one must explain itself
    assert request_id_of(headers, None, "t", 0, 0).encode()


def test_an_id_is_found_in_this_order() -> None:
    """Header, body, place."""
    place = ("digits.requests", 3, 41)
    assert request_id_of([("request-id", b"h")], "b", *place) == "h"
    assert request_id_of([("request-id", b"\xff")], "b", *place) == "b"
    assert request_id_of([("request-id", b"x" * 600)], None, *place) == "digits.requests-3-41"
    assert request_id_of(None, None, *place) == "digits.requests-3-41"
