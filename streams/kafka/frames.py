"""Kafka's requests and answers as bytes: what all of them have in common.

Only the four kinds that a busy worker sends again and again are written and read by hand (`transaction_frames`,
`fetch_frames`); kafka-python builds an object for each field of a request, several of them a record, which under light
load is most of what a small transaction costs.

Source of the layout: Apache Kafka, "Protocol Guide": flexible versions (KIP-482), request header 2, response header 1.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

#: Key, version, correlation id, and the length of the client's name.
_HEAD = struct.Struct(">hhih")
_INT = struct.Struct(">i")
#: No tagged fields.
NO_TAGS = b"\x00"
_NULL = b"\x00"


class Frame(NamedTuple):
    """A request, encoded but for its head."""

    key: int
    version: int
    body: bytes

    def sealed(self, number: int, client: bytes) -> bytes:
        """As it goes over the wire.

        Args:
            number: by which its answer is known.
            client: name that is shown in the broker's logs and quotas.

        """
        head = _HEAD.pack(self.key, self.version, number, len(client)) + client + NO_TAGS
        return b"".join([_INT.pack(len(head) + len(self.body)), head, self.body])


def unsigned(value: int) -> bytes:
    """A number of at least 0, in base 128."""
    if value < 0x80:  # noqa: PLR2004 - seven bits a byte
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str | None) -> bytes:
    """A compact string; `None` = null."""
    if value is None:
        return _NULL
    raw = value.encode()
    return unsigned(len(raw) + 1) + raw


def read_unsigned(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A number in base 128, and where it ends."""
    byte = data[at]
    at += 1
    if byte < 0x80:  # noqa: PLR2004 - the last byte
        return byte, at
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte
            return value, at
        shift += 7


def read_text(data: bytes | memoryview, at: int) -> tuple[str | None, int]:
    """A compact string, and where it ends."""
    size, at = read_unsigned(data, at)
    if size == 0:
        return None, at
    end = at + size - 1
    return bytes(data[at:end]).decode(), end


def skip_tags(data: bytes | memoryview, at: int) -> int:
    """Where the tagged fields that begin at `at` end."""
    count, at = read_unsigned(data, at)
    for _ in range(count):
        _, at = read_unsigned(data, at)
        size, at = read_unsigned(data, at)
        at += size
    return at
