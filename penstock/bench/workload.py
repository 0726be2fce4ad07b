"""The requests of a benchmark and the check of its answers: the same pictures for everybody."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.bench.candidates import JSON
from streams import headers as names
from streams.errors import MalformedResult
from streams.records import Encoding, decode_result, encode_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from penstock.demo.digits import Digits

#: Largest difference of a probability from the model's own answer: batches of other sizes add in another order.
TOLERANCE = 1e-4

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is written: its key is its id."""

    key: bytes
    value: bytes
    headers: Headers


class Workload:
    """Requests by number; number n carries the pictures n*rows to n*rows + rows - 1, round and round.

    Args:
        digits: the pictures and the model's own answers.
        encoding: `binary` or `json`.
        rows: pictures a request.
    """

    def __init__(self, digits: Digits, encoding: str, rows: int) -> None:
        self.rows, self._encoding = rows, encoding
        count = len(digits.images)
        places = [np.arange(n * rows, (n + 1) * rows) % count for n in range(count)]
        kind = Encoding.JSON if encoding == JSON else Encoding.BINARY
        # JSON without an id in its body, so that values can be made once: the header names the request either way.
        self._values = [encode_request({"image": digits.images[place]}, encoding=kind) for place in places]
        self._expected: list[NDArray[np.float32]] = [digits.expected[place] for place in places]

    @property
    def variety(self) -> int:
        """How many different values there are: request n has the value of request n modulo this."""
        return len(self._values)

    def request(self, number: int, prefix: str = "r") -> Request:
        """Request `number`; its id is `prefix` and the number."""
        value, headers = self._values[number % len(self._values)]
        key = f"{prefix}{number}".encode()
        return Request(key, value, [(names.REQUEST_ID, key), *headers])

    def right(self, number: int, value: bytes | None, headers: Headers) -> bool:
        """Whether a result is the model's own answer to request `number`."""
        found = probabilities(value, headers, self._encoding)
        expected = self._expected[number % len(self._expected)]
        return (
            found is not None and found.shape == expected.shape and bool(np.allclose(found, expected, atol=TOLERANCE))
        )


def probabilities(value: bytes | None, headers: Headers, encoding: str) -> NDArray[np.float32] | None:
    """What a result says, FP32 (rows, 10), whoever wrote it; `None` = it cannot be read or is an error.

    Our worker writes V2 results; the peers write plain JSON (`{"outputs": [[...]]}`) or raw little-endian floats.
    """
    try:
        if any(name == names.STATUS for name, _ in headers):
            result = decode_result(value, headers)
            return np.asarray(next(iter(result.outputs.values())), np.float32) if result.ok else None
        if encoding == JSON:
            body: dict[str, Any] = json.loads(value or b"")
            return np.asarray(body["outputs"], np.float32)
        return np.frombuffer(value or b"", "<f4").reshape(-1, 10)
    except (MalformedResult, ValueError, TypeError, LookupError, StopIteration):
        return None


def number_of(key: bytes | None, prefix: str = "r") -> int | None:
    """The number of the request with this key; `None` = it is none of the run's."""
    text = (key or b"").decode("latin-1")
    digits = text[len(prefix) :]
    return int(digits) if text.startswith(prefix) and digits.isascii() and digits.isdigit() else None


@dataclass(frozen=True, slots=True)
class Audit:
    """What became of the requests of one run."""

    answered: int
    duplicated: int
    wrong: int
    #: Requests below the highest answered one of the run without an answer; meaningful once all had their time.
    missing: int

    @property
    def problem(self) -> str | None:
        """What is not as it must be for exactly-once; `None` = nothing."""
        found = [
            f"{count:,} {what}"
            for count, what in ((self.wrong, "wrong"), (self.missing, "lost"), (self.duplicated, "duplicated"))
            if count
        ]
        return f"of {self.answered:,} answers: {', '.join(found)}" if found else None


def audit(
    workload: Workload, results: Sequence[tuple[bytes | None, bytes | None, Headers]], sent: int, *, every: int = 1
) -> Audit:
    """Count and compare results (key, value, headers).

    Args:
        workload: what was asked.
        results: what came, in any order.
        sent: how many requests were sent, numbered from 0.
        every: compare each `every`-th answer with the model's own; 0 = none.
    """
    seen = np.zeros(sent, np.int64)
    wrong = 0
    for index, (key, value, headers) in enumerate(results):
        number = number_of(key)
        if number is None or number >= sent:
            continue
        seen[number] += 1
        if every and index % every == 0 and not workload.right(number, value, headers):
            wrong += 1
    answered = int((seen > 0).sum())
    return Audit(answered, int((seen - 1).clip(min=0).sum()), wrong, sent - answered)
