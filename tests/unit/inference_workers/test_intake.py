"""Decoding by what went before agrees with decoding with care, on every record."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_workers import intake
from inference_workers.answers import Answer
from inference_workers.errors import RejectedInput
from inference_workers.intake import Intake, Pending
from streams.records import Encoding, Limits, Status, encode_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(eq=False)
class Model:
    """Takes one float32 input of four numbers a row."""

    version: str = "1"

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """As `ServedModel.check` does."""
        if inputs.keys() != {"x"} or inputs["x"].shape[1:] != (4,):
            raise RejectedInput("wrong-shape", "not four numbers")
        return {"x": inputs["x"].astype(np.float32, copy=False)}


@dataclass
class Versions:
    """Version 1 now, version 2 for those who ask."""

    current: Any = field(default_factory=Model)
    other: Any = field(default_factory=lambda: Model("2"))

    def pinned(self, version: str) -> Any:
        """One of the two."""
        return {"1": self.current, "2": self.other}.get(version)


def record(value: bytes | None, headers: list[tuple[str, bytes]], offset: int = 7) -> Any:
    """A record as it is polled."""
    return SimpleNamespace(topic="t", partition=3, offset=offset, timestamp=1, key=b"k", value=value, headers=headers)


def good(rows: int = 2, *, dtype: Any = np.float32, encoding: Encoding = Encoding.BINARY, first: float = 0) -> Any:
    """A request that fits the model."""
    x = (np.arange(rows * 4).reshape(rows, 4) + first).astype(dtype)
    return record(*encode_request({"x": x}, request_id="one", encoding=encoding))


def new_intake(models: Any = None) -> Intake:
    """Nothing remembered."""
    return Intake(models or Versions(), Limits(), now_s=lambda: 100.0)


def same(one: Answer | Pending, other: Answer | Pending) -> bool:
    """Whether two decodings of a record, by intakes of equal models, say the same."""
    if isinstance(one, Answer) or isinstance(other, Answer):
        return (
            isinstance(one, Answer)
            and isinstance(other, Answer)
            and ((one.status, one.failure, one.request_id) == (other.status, other.failure, other.request_id))
        )
    assert isinstance(other, Pending)
    return (
        (one.request_id, one.encoding, one.rows, one.key[1:], one.model.version)
        == (other.request_id, other.encoding, other.rows, other.key[1:], other.model.version)
        and one.inputs.keys() == other.inputs.keys()
        and all(np.array_equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
        and all(one.inputs[name].dtype == other.inputs[name].dtype for name in one.inputs)
    )


def test_the_second_request_of_a_kind_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this the rest of the file would compare the careful way with itself."""
    decoder = new_intake()
    decoder.decode(good(), 1)
    monkeypatch.setattr(intake, "decode_request", None)
    second = decoder.decode(good(first=50), 1)
    assert isinstance(second, Pending)
    assert second.inputs["x"].tolist() == [[50, 51, 52, 53], [54, 55, 56, 57]]


HEADERS = st.lists(
    st.sampled_from(
        [
            ("request-id", b"other"),
            ("request-id", b""),
            ("request-id", b"\xff"),
            ("request-id", b"n" * 600),
            ("content-type", b"application/json"),
            ("content-type", b"application/octet-stream; x=y"),
            ("content-type", b""),
            ("inference-header-content-length", b"7"),
            ("inference-header-content-length", b"x"),
            ("inference-header-content-length", b"0099"),
            ("deadline-ms", b"99999"),
            ("deadline-ms", b"100001"),
            ("model-version", b"2"),
            ("model-version", b"3"),
            ("reply-to", b"elsewhere"),
            ("reply-to", b"__no"),
            ("traceparent", b"00-aa-bb-01"),
            ("x-theirs", b"\xff\x00"),
        ]
    ),
    max_size=3,
)


@settings(deadline=None)
@given(
    rows=st.sampled_from([1, 2]),
    dtype=st.sampled_from([np.float32, np.float64, np.int8]),
    encoding=st.sampled_from(list(Encoding)),
    extra=HEADERS,
    in_front=st.booleans(),
    cut=st.sampled_from([0, -1, 1]),
)
def test_both_ways_say_the_same(
    *, rows: int, dtype: Any, encoding: Encoding, extra: list[tuple[str, bytes]], in_front: bool, cut: int
) -> None:
    """Whatever strangers change in a request like one before: its headers, its length, its type."""
    request = good(rows, dtype=dtype, encoding=encoding)
    headers = [*extra, *request.headers] if in_front else [*request.headers, *extra]
    value = request.value[:cut] if cut < 0 else request.value + b"\x00" * cut
    changed = record(value, headers)
    experienced = new_intake()
    for kind in (np.float32, np.float64, np.int8):
        for count in (1, 2):
            experienced.decode(good(count, dtype=kind), 1)
    assert same(experienced.decode(changed, 1), new_intake().decode(changed, 1))


@settings(deadline=None)
@given(
    extra=HEADERS,
    said=st.sampled_from([None, b"", b"other", b"n" * 512, b"n" * 513, "\u00e9".encode(), b"\xff", b"n" * 900]),
    encoding=st.sampled_from(list(Encoding)),
    most_bytes=st.sampled_from([150, 600, 1000, 16_384]),
    most=st.sampled_from([2, 3, 4, 64]),
)
def test_another_id_before_the_same_headers_is_read_with_the_same_care(
    *, extra: list[tuple[str, bytes]], said: Any, encoding: Encoding, most_bytes: int, most: int
) -> None:
    """Headers that were read one by one before are known by their sum; the id is not, and counts."""
    request = good(encoding=encoding)
    (name, _), *rest = request.headers
    limits = Limits(max_header_bytes=most_bytes, max_headers=most)
    experienced, fresh = (Intake(Versions(), limits, now_s=lambda: 100.0) for _ in range(2))  # type: ignore[arg-type]
    experienced.decode(good(encoding=encoding), 1)
    experienced.decode(record(request.value, [(name, b"before"), *rest, *extra]), 1)
    changed = record(request.value, [(name, said), *rest, *extra])
    assert same(experienced.decode(changed, 1), fresh.decode(changed, 1))


def test_headers_that_repeat_are_not_read_one_by_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this the test before would compare the careful way with itself."""
    decoder = new_intake()
    decoder.decode(good(), 1)
    decoder.decode(good(), 1)
    monkeypatch.setattr(intake, "_plain", None)
    (_, _), *rest = good().headers
    second = decoder.decode(record(good().value, [("request-id", b"two"), *rest]), 1)
    assert isinstance(second, Pending)
    assert second.request_id == "two"


def test_a_second_id_behind_the_same_headers_counts() -> None:
    """Of a header given twice the last counts, each time."""
    decoder = new_intake()
    twice = [*good().headers, ("request-id", b"last")]
    for number in range(3):
        (name, _), *rest = twice
        found = decoder.decode(record(good().value, [(name, b"r%d" % number), *rest]), 1)
        assert found.request_id == "last"


def test_as_many_other_headers_are_not_the_same_headers() -> None:
    """One asks for another version of the model, with as many headers as the one before."""
    decoder = new_intake()
    for extra, version in ((("x-theirs", b"2"), "1"), (("model-version", b"2"), "2"), (("x-theirs", b"3"), "1")):
        found = decoder.decode(record(good().value, [*good().headers, extra]), 1)
        assert isinstance(found, Pending)
        assert found.model.version == version


def test_what_the_model_casts_is_not_remembered() -> None:
    """A view would hand the model numbers of the wrong type."""
    decoder = new_intake()
    for _ in range(2):
        pending = decoder.decode(good(dtype=np.int8), 1)
        assert isinstance(pending, Pending)
        assert pending.inputs["x"].dtype == np.float32


def test_a_new_version_forgets_what_was_learnt_for_the_old() -> None:
    """The next version may take other inputs."""
    models = Versions()
    decoder = new_intake(models)
    old = decoder.decode(good(), 1)
    models.current = Model("9")
    new = decoder.decode(good(), 1)
    assert isinstance(old, Pending)
    assert isinstance(new, Pending)
    assert (old.model.version, new.model.version) == ("1", "9")
    assert old.key != new.key, "versions never share a batch"


def test_a_pinned_request_gets_its_version_or_a_clear_answer() -> None:
    """By name, resident or not."""
    decoder = new_intake()
    pinned = decoder.decode(record(good().value, [*good().headers, ("model-version", b"2")]), 1)
    assert isinstance(pinned, Pending)
    assert pinned.model.version == "2"
    missing = decoder.decode(record(good().value, [*good().headers, ("model-version", b"3")]), 1)
    assert isinstance(missing, Answer)
    assert missing.failure is not None
    assert missing.failure.reason == "model-version-unavailable"


def test_a_request_past_its_deadline_is_answered_unread_by_the_device() -> None:
    """At 100 s, a deadline of 99.999 s."""
    late = new_intake().decode(record(good().value, [*good().headers, ("deadline-ms", b"99999")]), 1)
    assert isinstance(late, Answer)
    assert late.status is Status.EXPIRED
    assert late.failure is None


@pytest.mark.parametrize("body", [b"", b"{", json.dumps({"inputs": []}).encode()])
def test_what_cannot_be_read_is_an_answer(body: bytes) -> None:
    """Never an exception, and with the id that could still be read."""
    answer = new_intake().decode(record(body, [("request-id", b"mine")]), 4)
    assert isinstance(answer, Answer)
    assert dataclasses.is_dataclass(answer)
    assert (answer.status, answer.request_id, answer.epoch) == (Status.FAILED, "mine", 4)
