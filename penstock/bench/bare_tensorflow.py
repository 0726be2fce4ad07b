"""The limit of the model: bare TensorFlow, no Kafka. Run as `python -m penstock.bench.bare_tensorflow JOB`.

Measures the SavedModel's signature from NumPy arrays to NumPy arrays at one number of threads and several batch sizes
and prints one line of JSON: a list of `batch, rows_per_s, cpu_us_per_row`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main(job: dict[str, Any]) -> None:
    """Measure each batch size for `seconds`.

    Args:
        job: `model` (a version's directory), `intra_op_threads` (0 = TensorFlow's own choice), `batches`, `seconds`.
    """
    import numpy as np  # noqa: PLC0415 - nothing before its time: the caller counts
    import tensorflow as tf  # noqa: PLC0415

    tf.config.threading.set_intra_op_parallelism_threads(job["intra_op_threads"])
    if job["intra_op_threads"]:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    loaded = tf.saved_model.load(job["model"])
    function = loaded.signatures["serving_default"]
    found = []
    for batch in job["batches"]:
        pictures = np.random.default_rng(batch).random((batch, 8, 8, 1), np.float32)
        for _ in range(20):
            function(image=tf.constant(pictures))["probabilities"].numpy()
        rounds, began_s, began_cpu_s = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - began_s < job["seconds"]:
            for _ in range(20):
                function(image=tf.constant(pictures))["probabilities"].numpy()
            rounds += 20
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        rows = rounds * batch
        found.append({"batch": batch, "rows_per_s": rows / took_s, "cpu_us_per_row": cpu_s / rows * 1e6})
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
