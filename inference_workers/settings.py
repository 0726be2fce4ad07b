"""How a worker behaves: every default once, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

#: Results, dead letters and offsets are committed together, in a Kafka transaction.
EXACTLY_ONCE = "exactly-once"
#: Results are sent, then offsets are committed: a kill in between repeats results, none is lost.
AT_LEAST_ONCE = "at-least-once"
TRACING_OFF = "off"
TRACING_OTLP = "otlp"

#: Answers that hold NaN or an infinity are delivered as the model gave them.
DELIVER = "deliver"
#: Their requests fail, and leave dead letters.
FAIL = "fail"


#: A start is believed to last less than this; what takes longer looks like a clock that jumped.
MOST_BOOT_S = 3600.0
#: Most that bulk can be promised: half of a batch, which is what is reserved at most.
MOST_BULK = 0.5


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What all workers of a pipeline have in common."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: `exactly-once` or `at-least-once`.
    delivery: str = EXACTLY_ONCE
    #: Most rows that the model computes at once. Left out: what the first version shows while it is warmed. Sizes
    #: double up to 512 as long as a batch takes at most a tenth of the objective, or serves a quarter more rows a
    #: second than half of it; and up to 64 as long as it takes less than the objective. A small CNN on two cores gives
    #: 21,000 rows a second at 64 and 31,000 at 512 (measured).
    max_batch: int | None = None
    #: Records held between Kafka and the model; above it partitions are paused. Enough for the device to go on while a
    #: fetch is under way (measured: 512 starve it at 10,000 records a second); a rebalance throws away what is left.
    buffer_records: int = 4096
    #: Bytes of request values held there at most, so that large records do not take the machine's memory.
    buffer_bytes: int = 64 * 1024 * 1024
    #: Batches that wait for delivery; above it the model waits. As many as come while one commit is under way.
    delivery_queue: int = 16
    #: Share of the rows that bulk requests get at least while urgent ones wait too; mostly they need none of it, since
    #: they fill the pad slots of urgent batches. Small, and more than nothing, so that bulk never starves.
    bulk_share: float = 0.05
    #: Seconds for finishing the batch, committing and leaving the group after SIGTERM. Under Kubernetes' default of
    #: 30 s between SIGTERM and SIGKILL.
    drain_s: float = 20.0
    #: Seconds that a rebalance waits for the batch in hand of revoked partitions. Longer than one batch, far below the
    #: session time-out.
    revoke_drain_s: float = 2.0
    #: Seconds between reports. The autoscaler decides once a second.
    report_interval_s: float = 1.0
    #: Threads inside one TensorFlow operation. Left out: two where the worker may use two cores or more, else one, and
    #: one on an emulated device. Two cost a small CNN 20 % more CPU at one row and 4 % at 512, and serve 1.9 times the
    #: rows a second there. Use 1 where several workers share the cores, more for large models on idle ones.
    intra_op_threads: int | None = None
    #: Milliseconds without a heartbeat after which the group gives a worker's partitions away. A slot that restarts
    #: within it keeps them.
    session_timeout_ms: int = 10_000
    #: Milliseconds after which Kafka aborts the transaction of a dead worker; until then read-committed readers wait.
    transaction_timeout_ms: int = 10_000
    #: Largest request accepted, in bytes: as `topics.max_record_bytes`, 1 MiB.
    max_record_bytes: int = 1024 * 1024
    #: Most rows in one request.
    max_request_rows: int = 4096
    #: Most arrays and objects within one another in a request's JSON: a V2 request takes 4, and its nested data one
    #: more a dimension.
    max_json_depth: int = 32
    #: Most tensors of a request.
    max_inputs: int = 64
    #: Most headers of a request's record: we read seven, and tracing and routing of others add a few each.
    max_headers: int = 64
    #: Most bytes of all headers' names and values of a record; a dead letter carries them all.
    max_header_bytes: int = 16_384
    #: Consecutive batches in which each record fails in the model before the worker stops: then the model is broken,
    #: and going on would empty the topic into dead letters.
    broken_model_batches: int = 8
    #: Port for `/metrics`, `/livez` and `/readyz`; left out = off. 0 = any free one, for several workers on a host: it
    #: stands in `health/<slot>.json` and, for Prometheus' file discovery, in `scrape/<slot>.json` below `state_dir`.
    metrics_port: int | None = None
    #: Address that the port is opened on. Loopback, since nothing asks who the reader is; `0.0.0.0` in a container.
    metrics_host: str = "127.0.0.1"
    #: Seconds without progress after which `/livez` says that a thread is stuck: polling, or one batch on the device.
    #: Must be above the longest batch; waiting for a broker does not count.
    stuck_after_s: float = 60.0
    #: `off`, or `otlp`: a span a batch, linked to the `traceparent` of its requests, exported as the `OTEL_*` variables
    #: say. Needs `pip install 'penstock[tracing]'`.
    tracing: str = TRACING_OFF

    #: Seconds from the order to joining the group at least, on an emulated device only: a start as slow as that of the
    #: machine that is emulated. 0 = as quick as it comes. By worker type as `{ cpu = 10.0, gpu = 90.0 }`; a type that
    #: is not named is as quick as it comes.
    emulated_boot_s: float | dict[str, float] = 0.0

    #: Seconds between looks at the model's directory: how soon a new version is noticed. A look lists a few files.
    model_poll_s: float = 2.0
    #: Most versions held in memory only because requests are pinned to them, beside the served one, the one before and
    #: a shadow. Each costs a model's memory; 0 = pins get what is in memory anyway.
    pinned_models: int = 1
    #: What becomes of answers that hold NaN or an infinity: `deliver` or `fail` (with a dead letter). Deliver, since an
    #: infinity is often meant (the logarithm of a masked class) and only the model's owner knows; JSON cannot carry
    #: them, there they fail in any case.
    non_finite: str = DELIVER
    #: How far a shadow version's numbers may be from those delivered, relative to these, to count as the same (as in
    #: `numpy.allclose`). A thousandth passes other kernels and batch sizes, and no other model.
    shadow_rtol: float = 1e-3
    #: The same as an absolute difference, added to it: for numbers near 0.
    shadow_atol: float = 1e-5

    def __post_init__(self) -> None:
        self._check_models()
        self._check_watch()
        if self.delivery not in (EXACTLY_ONCE, AT_LEAST_ONCE):
            msg = f"worker.delivery={self.delivery!r}: choose {EXACTLY_ONCE!r} or {AT_LEAST_ONCE!r}"
            raise ValueError(msg)
        for name in (
            "max_batch",
            "buffer_records",
            "buffer_bytes",
            "delivery_queue",
            "intra_op_threads",
            "max_record_bytes",
            "max_request_rows",
            "max_json_depth",
            "max_inputs",
            "max_headers",
            "max_header_bytes",
            "broken_model_batches",
        ):
            number = getattr(self, name)
            if number is not None and number < 1:
                msg = f"worker.{name}={number}: must be at least 1"
                raise ValueError(msg)
        for name in ("drain_s", "revoke_drain_s", "report_interval_s", "model_poll_s", "stuck_after_s"):
            if getattr(self, name) <= 0:
                msg = f"worker.{name}={getattr(self, name)}: must be above 0 seconds"
                raise ValueError(msg)
        self._check_boots()
        if not 0 <= self.bulk_share <= MOST_BULK:
            msg = f"worker.bulk_share={self.bulk_share}: must be from 0 to {MOST_BULK}; more is not bulk"
            raise ValueError(msg)
        if self.session_timeout_ms < 6000:  # noqa: PLR2004 - the broker's own default floor
            msg = (
                f"worker.session_timeout_ms={self.session_timeout_ms}: brokers refuse less than 6000 unless "
                "group.min.session.timeout.ms says otherwise; use 6000 or more"
            )
            raise ValueError(msg)
        if self.revoke_drain_s * 1000 >= self.session_timeout_ms:
            msg = (
                f"worker.revoke_drain_s={self.revoke_drain_s}: must be shorter than session_timeout_ms="
                f"{self.session_timeout_ms}, else a slow drain costs the membership"
            )
            raise ValueError(msg)

    def boot_s(self, worker_type: str) -> float:
        """Seconds from the order to joining the group that an emulated start of this type takes at least."""
        boots = self.emulated_boot_s
        return boots.get(worker_type, 0.0) if isinstance(boots, dict) else boots

    def _check_models(self) -> None:
        if self.non_finite not in (DELIVER, FAIL):
            msg = f"worker.non_finite={self.non_finite!r}: choose {DELIVER!r} or {FAIL!r}"
            raise ValueError(msg)
        for name in ("pinned_models", "shadow_rtol", "shadow_atol"):
            if not getattr(self, name) >= 0:
                msg = f"worker.{name}={getattr(self, name)}: must be at least 0"
                raise ValueError(msg)

    def _check_boots(self) -> None:
        boots = self.emulated_boot_s
        for name, boot_s in boots.items() if isinstance(boots, dict) else [("", boots)]:
            if not 0 <= boot_s < MOST_BOOT_S:
                field = f"worker.emulated_boot_s{'.' if name else ''}{name}"
                msg = f"{field}={boot_s}: must be from 0 to below {MOST_BOOT_S:g} seconds"
                raise ValueError(msg)

    def _check_watch(self) -> None:
        if self.tracing not in (TRACING_OFF, TRACING_OTLP):
            msg = f"worker.tracing={self.tracing!r}: choose {TRACING_OFF!r} or {TRACING_OTLP!r}"
            raise ValueError(msg)
        if self.metrics_port is not None and not 0 <= self.metrics_port < 2**16:
            msg = f"worker.metrics_port={self.metrics_port}: must be from 0 (any free port) to 65535, or left out"
            raise ValueError(msg)
