"""What the hand-written peers share: their job, the model as a function, and the two forms of a payload.

Requests are the very records that our worker reads. Results are simpler than ours, in the peers' favour: the request's
key, and either raw little-endian floats or plain JSON.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import Any

import numpy as np

#: Requests computed together: what is best for this model on a CPU core.
BATCH = 64
LENGTH = "inference-header-content-length"


def read_job() -> dict[str, Any]:
    """Topics, group, model, encoding, rows."""
    return json.loads(sys.argv[1])


def stop_event() -> threading.Event:
    """Set at SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


def load_model(path: str, rows: int) -> Any:
    """The SavedModel's signature from array to array, warm for the batches that will come."""
    import tensorflow as tf  # noqa: PLC0415 - the job is read first

    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["serving_default"]

    def infer(pictures: np.ndarray) -> np.ndarray:
        return signature(image=tf.constant(pictures))["probabilities"].numpy()

    infer.keep = loaded  # the signature holds its variables weakly
    for requests in (1, 2, BATCH - 1, BATCH):
        infer(np.zeros((requests * rows, 8, 8, 1), np.float32))
    return infer


def decode_json(value: bytes) -> np.ndarray:
    """FP32 [rows, 8, 8, 1] of a JSON request."""
    tensor = json.loads(value)["inputs"][0]
    return np.asarray(tensor["data"], np.float32).reshape(tensor["shape"])


def decode_binary(value: bytes, headers: Any) -> np.ndarray:
    """FP32 [rows, 8, 8, 1] of a binary request."""
    start = int(dict(headers)[LENGTH])
    return np.frombuffer(value, "<f4", offset=start).reshape(-1, 8, 8, 1)


def encode_json(probabilities: np.ndarray) -> bytes:
    """A JSON result."""
    return json.dumps({"outputs": probabilities.tolist()}).encode()


def answer(job: dict[str, Any], infer: Any, payloads: list[tuple[bytes, Any]]) -> list[bytes]:
    """Decode a batch of (value, headers), compute it at once, encode each answer."""
    if job["encoding"] == "json":
        pictures = [decode_json(value) for value, _ in payloads]
    else:
        pictures = [decode_binary(value, headers) for value, headers in payloads]
    probabilities = infer(np.concatenate(pictures))
    rows = job["rows"]
    parts = (probabilities[at : at + rows] for at in range(0, len(probabilities), rows))
    return [encode_json(part) for part in parts] if job["encoding"] == "json" else [part.tobytes() for part in parts]
