"""Requests and results: the values, and the functions that write and read them.

The front of `record_types`, `request_codec` and `result_codec`; import from here.
"""

from __future__ import annotations

from streams.errors import MalformedRequest, MalformedResult, ReasonCode
from streams.record_types import (
    Array,
    ConsumedRecord,
    Encoding,
    InferRequest,
    InferResult,
    Limits,
    Outgoing,
    SharedHeaders,
    Status,
    Tensors,
    Timings,
)
from streams.request_codec import decode_request, encode_request
from streams.result_codec import JsonResults, decode_result, encode_error, encode_result, result_id

__all__ = [
    "Array",
    "ConsumedRecord",
    "Encoding",
    "InferRequest",
    "InferResult",
    "JsonResults",
    "Limits",
    "MalformedRequest",
    "MalformedResult",
    "Outgoing",
    "ReasonCode",
    "SharedHeaders",
    "Status",
    "Tensors",
    "Timings",
    "decode_request",
    "decode_result",
    "encode_error",
    "encode_request",
    "encode_result",
    "result_id",
]
