"""The telemetry's wire format: exact, tolerant of newer writers, and deaf to everything else."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.model import (
    Action,
    ArrivalSample,
    Claim,
    Control,
    Decided,
    FleetStatus,
    ServiceCurve,
    TelemetryRecord,
    WorkerReport,
    WorkerState,
)
from streams import telemetry
from streams.errors import MalformedTelemetry

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(min_value=0, max_value=2**63)
partitions = st.integers(min_value=0, max_value=10_000)
names = st.text(max_size=20)
fleets = st.dictionaries(names, counts, max_size=4)

curves = st.builds(
    ServiceCurve,
    a_s=st.floats(min_value=1e-9, max_value=1e3),
    b_s=st.floats(min_value=0, max_value=1e3),
    max_batch=st.integers(min_value=1, max_value=2**20),
)
controls = st.builds(
    Control,
    paused=st.none() | st.booleans(),
    min_workers=st.none() | counts,
    max_workers=st.none() | counts,
    advisory=st.none() | st.booleans(),
)
decisions = st.builds(
    Decided,
    epoch=counts,
    sample=counts,
    through=counts,
    action=st.sampled_from(Action),
    fleet=fleets,
    bound=names,
    reason=names,
    advisory=st.booleans(),
    from_redis=counts,
)
samples = st.builds(
    ArrivalSample,
    pipeline=names,
    at_s=numbers,
    end_offsets=st.dictionaries(partitions, counts, max_size=8),
    committed=st.dictionaries(partitions, st.none() | counts, max_size=8),
    fleet=st.none() | st.builds(FleetStatus, declared=fleets, running=fleets),
    control=st.none() | controls,
    decided=st.lists(decisions, max_size=2).map(tuple),
)
reports = st.builds(
    WorkerReport,
    pipeline=names,
    worker=names,
    worker_type=names,
    device=names,
    at_s=numbers,
    pid=counts,
    host=names,
    state=st.sampled_from(WorkerState),
    asked_at_s=numbers,
    ready_at_s=st.none() | numbers,
    partitions=st.lists(partitions, max_size=8).map(tuple),
    batches=counts,
    rows=counts,
    ok=counts,
    failed=counts,
    expired=counts,
    busy_s=numbers,
    curve=st.none() | curves,
    latency_counts=st.lists(counts, max_size=42).map(tuple),
    rebalances=counts,
    retraces=counts,
    model_version=names,
)
claims = st.builds(
    Claim, pipeline=names, owner=names, at_s=numbers, policy=st.none() | names, settings=st.none() | names
)
records = samples | reports | claims

SAMPLE = ArrivalSample("digits", 12.5, {0: 7, 11: 3}, {0: None, 11: 2})


@given(records)
def test_what_is_written_is_what_is_read(record: TelemetryRecord) -> None:
    """Every record comes back equal, of the same type, and the same again when written a second time."""
    value = telemetry.encode(record)
    again = telemetry.decode(value)
    assert again == record
    assert type(again) is type(record)
    assert telemetry.encode(again) == value


@given(records, st.dictionaries(st.text(min_size=1).map("x-".__add__), st.none() | counts | names, max_size=3))
def test_fields_of_a_newer_version_are_passed_over(record: TelemetryRecord, extra: dict[str, object]) -> None:
    """A reader of today reads what a writer of tomorrow adds to."""
    fields = json.loads(telemetry.encode(record)) | extra
    assert telemetry.decode(json.dumps(fields).encode()) == record


def test_fields_of_an_older_version_take_their_defaults() -> None:
    """A field that has a default may be missing, as in a record of a version that did not have it yet."""
    fields = json.loads(telemetry.encode(SAMPLE))
    del fields["fleet"]
    del fields["control"]
    del fields["decided"]
    assert telemetry.decode(json.dumps(fields).encode()) == SAMPLE


def test_the_wire_format_stays_what_it_is() -> None:
    """Records of yesterday are on the topic: the bytes of a known record are pinned."""
    assert telemetry.encode(SAMPLE) == (
        b'{"kind":"arrivals","pipeline":"digits","at_s":12.5,"end_offsets":{"0":7,"11":3},'
        b'"committed":{"0":null,"11":2},"fleet":null,"control":null,"decided":[]}'
    )
    assert telemetry.key(SAMPLE) == b"digits"


def test_not_known_and_zero_stay_apart() -> None:
    """A partition that never committed is None on both sides, and one committed at 0 is 0."""
    sample = dataclasses.replace(SAMPLE, committed={0: None, 1: 0})
    read = telemetry.decode(telemetry.encode(sample))
    assert isinstance(read, ArrivalSample)
    assert read.committed == {0: None, 1: 0}


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(value: bytes) -> None:
    """Bytes that are no telemetry raise MalformedTelemetry and nothing else."""
    with pytest.raises(MalformedTelemetry):
        telemetry.decode(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(records, st.data())
def test_a_field_of_another_type_is_refused_or_read(record: TelemetryRecord, data: st.DataObject) -> None:
    """Whatever stands in a field, decoding ends in a record or in MalformedTelemetry."""
    fields = json.loads(telemetry.encode(record))
    field = data.draw(st.sampled_from(sorted(fields)))
    fields[field] = data.draw(json_values)
    try:
        telemetry.decode(json.dumps(fields).encode())
    except MalformedTelemetry as error:
        assert str(error)  # noqa: PT017 - either end is right; this one must explain itself


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"kind":"lease","pipeline":"p"}',
        b'{"kind":["claim"]}',
        b'{"kind":"claim","pipeline":"p","owner":"o"}',
        b'{"kind":"claim","pipeline":"p","owner":"o","at_s":true}',
        b'{"kind":"claim","pipeline":"p","owner":"o","at_s":1e999}',
        b'{"kind":"claim","pipeline":"p","owner":"o","at_s":NaN}',
        b'{"kind":"claim","pipeline":"p","owner":"o","at_s":1' + b"0" * 400 + b"}",
        b'{"kind":"claim","pipeline":"p","owner":"o","at_s":1' + b"0" * 5000 + b"}",
        b'{"kind":"arrivals","pipeline":"p","at_s":1,"end_offsets":{"1_0":1},"committed":{}}',
        b'{"kind":"arrivals","pipeline":"p","at_s":1,"end_offsets":{"0":1.0},"committed":{}}',
        b'{"kind":"arrivals","pipeline":"p","at_s":1,"end_offsets":{"0":true},"committed":{}}',
        b'{"kind":"arrivals","pipeline":"p","at_s":1,"end_offsets":[],"committed":{}}',
    ],
)
def test_malformed_records_are_refused_with_a_reason(value: bytes | None) -> None:
    """Each of these is refused, among them nesting bombs and numbers too large for a float."""
    with pytest.raises(MalformedTelemetry, match="telemetry"):
        telemetry.decode(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_without_a_word_in_json_are_not_written(number: float) -> None:
    """A writer with a NaN is told so, rather than every reader."""
    with pytest.raises(MalformedTelemetry, match="not finite"):
        telemetry.encode(Claim("p", "o", number))
