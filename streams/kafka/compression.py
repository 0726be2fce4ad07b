"""What a user's `compression_type` stands for."""

from __future__ import annotations

from kafka import codec

from streams.errors import KafkaFailure
from streams.kafka.record_batches import Codec

_CODECS: dict[str | None, Codec] = {
    None: Codec(0, bytes),
    "none": Codec(0, bytes),
    "gzip": Codec(1, codec.gzip_encode),
    "snappy": Codec(2, codec.snappy_encode),
    "lz4": Codec(3, codec.lz4_encode),
    "zstd": Codec(4, codec.zstd_encode),
}


def codec_of(name: str | None) -> Codec:
    """The codec of a name; asked at the start, since nothing could be written without.

    Raises:
        KafkaFailure: it is none that Kafka has, or its library is not installed.

    """
    found = _CODECS.get(name)
    if found is None or (found.number and not getattr(codec, f"has_{name}")()):
        usable = ", ".join(one for one in _CODECS if one and (one == "none" or getattr(codec, f"has_{one}")()))
        raise KafkaFailure(
            f"kafka.client.compression_type={name!r}: not known, or its library is missing; use {usable}"
        )
    return found
