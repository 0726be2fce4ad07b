"""Decodes what was polled: each record becomes a request that fits the model, or the answer that says why not.

Most requests of a pipeline look alike: the same headers, the same head, one value after it. What was found out about
the first of them is remembered by its head, and the next is one dictionary lookup and one view of its bytes. Whatever
is not exactly like one that went before takes the careful way, so both ways agree on every record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from inference_workers import batching
from inference_workers.answers import Answer, Failure
from inference_workers.errors import RejectedInput
from streams import headers as names
from streams import quick_json
from streams.errors import MalformedRequest
from streams.headers import RequestHeaders, request_id_of
from streams.records import Encoding, InferRequest, Limits, Status, decode_request
from streams.request_codec import comes_again, header_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from inference_workers.model import ServedModel
    from inference_workers.shadow import ShadowOrder
    from streams.headers import Headers
    from streams.records import ConsumedRecord

#: Different heads remembered; as many as `streams.request_codec` does.
_REMEMBERED = 256

_PLAIN = RequestHeaders()
_BINARY = names.BINARY_CONTENT.encode()
_JSON = names.JSON_CONTENT.encode()
#: Headers that change what is done with a request: those that have one take the careful way.
_CAREFUL = frozenset((names.DEADLINE_MS, names.MODEL_VERSION, names.REPLY_TO, names.TRACEPARENT))


class Models(Protocol):
    """The versions at hand."""

    @property
    def current(self) -> ServedModel:
        """What serves requests that name no version."""

    def pinned(self, version: str) -> ServedModel | None:
        """The version that a request asks for by name; `None` = not to be had.

        Raises:
            RejectedInput: likewise, with the reason.

        """

    @property
    def timings(self) -> Sequence[tuple[int, float]]:
        """Rows and seconds of batches of the current version, measured while it was warmed."""

    @property
    def shadow(self) -> ShadowOrder | None:
        """What to compare with, if anything."""

    @property
    def loading(self) -> bool:
        """Whether a version is being loaded just now."""


@dataclass(frozen=True, slots=True)
class OneModel:
    """A single version."""

    current: ServedModel
    timings: Sequence[tuple[int, float]] = ()
    shadow: ShadowOrder | None = None
    loading: bool = False

    def pinned(self, version: str) -> ServedModel | None:
        """The version, if it is this one."""
        return self.current if version == self.current.version else None


@dataclass(slots=True, eq=False)
class Pending:
    """A decoded request that fits its model."""

    record: ConsumedRecord
    #: Epoch of the record's partition (see `inference_workers.ownership`).
    epoch: int
    headers: RequestHeaders
    request_id: str
    encoding: Encoding
    inputs: Mapping[str, NDArray[Any]]
    rows: int
    model: ServedModel
    #: What requests must share to be computed together: the model and all but the rows of their inputs.
    key: tuple[Any, ...]

    @property
    def deadline_s(self) -> float | None:
        """Unix seconds after which its answer is worthless; `None` = never."""
        at_ms = self.headers.deadline_at_ms
        return None if at_ms is None else at_ms / 1000


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of all binary requests with one head."""

    size: int
    #: Name, type, shape and place in the value of each input.
    views: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int], ...]
    rows: int
    key: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Alike:
    """What is known of all requests whose headers are an id and then these, which say no other id."""

    rest: list[tuple[str, bytes | None]]
    #: As `_plain` returns it.
    length: bytes | None
    #: Bytes of an id that leave the headers short enough.
    longest_id: int


#: Inputs, their rows, and the key of the requests that they can be computed with.
_Found = tuple["Mapping[str, NDArray[Any]]", int, tuple[Any, ...]]


@dataclass(slots=True)
class Intake:
    """Belongs to one thread.

    Args:
        models: the versions at hand.
        limits: what one request may ask for.
        now_s: Unix seconds.

    """

    models: Models
    limits: Limits
    now_s: Callable[[], float] = time.time
    _known: dict[bytes, _Known] = field(default_factory=dict)
    #: The lengths of known heads, as their header has them.
    _lengths: dict[bytes, int] = field(default_factory=dict)
    #: Of the last request whose headers were read one by one.
    _alike: _Alike | None = None
    #: The version that `_known` was learnt for.
    _known_for: ServedModel | None = None

    def decode(self, record: ConsumedRecord, epoch: int) -> Answer | Pending:
        """What is to be done with a record. Never raises for what is in it."""
        model = self.models.current
        if model is not self._known_for:
            self._known.clear()
            self._lengths.clear()
            self._known_for = model
        pending = self._quickly(record, epoch, model)
        return self._carefully(record, epoch, model) if pending is None else pending

    def _quickly(self, record: ConsumedRecord, epoch: int, model: ServedModel) -> Pending | None:
        plain, value = self._named(record.headers), record.value
        if plain is None or value is None:
            return None
        request_id, length = plain
        found = self._from_json(value, model) if length is None else self._like_before(value, length)
        if found is None:
            return None
        encoding = Encoding.JSON if length is None else Encoding.BINARY
        inputs, rows, key = found
        return Pending(record, epoch, _PLAIN, request_id, encoding, inputs, rows, model, key)

    def _like_before(self, value: bytes, length: bytes) -> _Found | None:
        start = self._lengths.get(length)
        known = None if start is None else self._known.get(value[:start])
        if known is None or len(value) != known.size:
            return None
        inputs = {name: np.ndarray(shape, dtype, value, at) for name, dtype, shape, at in known.views}
        return inputs, known.rows, known.key

    def _from_json(self, value: bytes, model: ServedModel) -> _Found | None:
        request = quick_json.read(value, self.limits) if len(value) <= self.limits.max_record_bytes else None
        if request is None:
            return None
        try:
            inputs = model.check(request.inputs)
        except RejectedInput:
            return None
        return inputs, request.rows, (model, *batching.shape_key(inputs))

    def _named(self, headers: Headers) -> tuple[str, bytes | None] | None:
        """As `_plain`; `None` too where there is more of the headers than is allowed."""
        alike = self._alike
        if alike is not None and headers and headers[0][0] == names.REQUEST_ID and headers[1:] == alike.rest:
            said = headers[0][1]
            # In ASCII its bytes are its characters.
            if said and len(said) <= alike.longest_id and said.isascii():
                return said.decode(), alike.length
        plain = _plain(headers)
        if plain is None:
            return None
        size = header_bytes(headers)
        if len(headers) > self.limits.max_headers or size > self.limits.max_header_bytes:
            return None
        if headers[0][0] == names.REQUEST_ID and not any(name == names.REQUEST_ID for name, _ in headers[1:]):
            left = self.limits.max_header_bytes - size + len(headers[0][1] or b"")
            self._alike = _Alike(list(headers[1:]), plain[1], min(names.LONGEST_ID, left))
        return plain

    def _carefully(self, record: ConsumedRecord, epoch: int, model: ServedModel) -> Answer | Pending:
        headers, encoding, body_id = _PLAIN, Encoding.JSON, None
        place = (record.topic, record.partition, record.offset)
        try:
            headers = RequestHeaders.parse(record.headers)
            request = decode_request(record.value, record.headers, limits=self.limits)
            encoding, body_id = request.encoding, request.id
            request_id = request_id_of(record.headers, body_id, *place)
            if headers.expired(self.now_s()):
                return Answer(record, epoch, headers, request_id, encoding, Status.EXPIRED)
            if headers.model_version is not None:
                model = self._pinned(headers.model_version)
            inputs = model.check(request.inputs)
        except MalformedRequest as error:
            failure = Failure(error.code.value, error.message, "decode")
            body_id = error.request_id
        except RejectedInput as error:
            failure = Failure(error.code, str(error), "batch")
        else:
            key = (model, *batching.shape_key(inputs))
            if model is self._known_for:
                self._learn(record, headers, request, inputs, key)
            return Pending(record, epoch, headers, request_id, encoding, inputs, request.rows, model, key)
        request_id = request_id_of(record.headers, body_id, *place)
        return Answer(record, epoch, headers, request_id, encoding, Status.FAILED, failure=failure)

    def _pinned(self, version: str) -> ServedModel:
        model = self.models.pinned(version)
        if model is None:
            current = self.models.current.version
            msg = f"the request is pinned to version {version}, which is not to be had; this worker serves {current}"
            raise RejectedInput("model-version-unavailable", msg)
        return model

    def _learn(
        self,
        record: ConsumedRecord,
        headers: RequestHeaders,
        request: InferRequest,
        inputs: Mapping[str, NDArray[Any]],
        key: tuple[Any, ...],
    ) -> None:
        value, length = record.value, names.header(record.headers, names.HEADER_LENGTH)
        start = headers.header_length
        if request.encoding is not Encoding.BINARY or value is None or start is None or length is None:
            return
        head = value[:start]
        if not comes_again(head):
            return
        views, at = [], start
        for name, array in request.inputs.items():
            # Only what is taken as it stands: a view of numbers of the model's own type. BOOL bytes are looked at one
            # by one, and strings have no fixed place.
            if inputs[name] is not array or array.dtype.kind not in "iuf" or array.flags.owndata:
                return
            views.append((name, array.dtype, array.shape, at))
            at += array.nbytes
        if at != len(value):
            return
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
            self._lengths.clear()
        self._known[head] = _Known(len(value), tuple(views), request.rows, key)
        self._lengths[length] = start


def _plain(headers: Headers) -> tuple[str, bytes | None] | None:
    """The id of a request with none of the headers that need care, and its head's length (`None` = it is JSON).

    `None` = not such a one. Of a header given twice the last counts, as everywhere.
    """
    request_id = length = content = None
    for name, said in headers:
        if name == names.REQUEST_ID:
            request_id = said
        elif name == names.HEADER_LENGTH:
            # Not `None`: with JSON, one that is there is for the careful way to judge, whatever it says.
            length = said or b""
        elif name == names.CONTENT_TYPE:
            content = said
        elif name in _CAREFUL:
            return None
    if not request_id or not (length if content == _BINARY else content == _JSON and length is None):
        return None
    try:
        named = request_id.decode()
    except UnicodeDecodeError:
        return None
    return (named, length) if len(named) <= names.LONGEST_ID else None
