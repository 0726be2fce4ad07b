"""One pipeline's ties to Kafka besides the agent: samples are taken, records published, the recent tape read again.

Every method blocks and belongs into one thread. Connections are made when first needed and made anew after a failure,
so that a broker may be away at any time, also at the start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any

from streams import telemetry, topics
from streams.arrivals import ArrivalSampler
from streams.errors import KafkaFailure, MalformedTelemetry, NotAuthorized
from streams.kafka import Admin, close_producer, new_producer, translated
from streams.kafka.tape import partition_of, read_since

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from autoscaler.model import ArrivalSample, Control, FleetStatus, TelemetryRecord
    from streams.kafka import KafkaSettings
    from streams.topics import TopicSettings

log = logging.getLogger(__name__)

#: Seconds for one request: a tick that takes longer is lost, and the stop of the process must not wait for more.
_REQUEST_S = 4.0
_BOOTSTRAP_S = 3.0
#: Seconds for reading ten minutes of tape again: some ten thousand small records.
_REPLAY_S = 20.0


class TelemetryLink:
    """See the module.

    Args:
        kafka: Where to connect.
        pipeline: Its name.
        topic_settings: How topics that do not exist are created.
        clock: Unix seconds.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        pipeline: str,
        topic_settings: TopicSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # Shorter than a person's patience: the next tick tries again.
        self._kafka = dataclasses.replace(
            kafka, request_timeout_ms=int(_REQUEST_S * 1000), bootstrap_timeout_ms=int(_BOOTSTRAP_S * 1000)
        )
        self._pipeline = pipeline
        self._topic_settings = topic_settings
        self._clock = clock
        self._admin: Admin | None = None
        self._producer: Any = None
        self._sampler: ArrivalSampler | None = None
        self._partition: int | None = None

    def prepare(self) -> int:
        """Create what topics are missing; who may not create or compare topics is content to find them.

        Returns:
            The telemetry partition of this pipeline.

        Raises:
            TopicMismatch: the topics that exist do not fit each other.
            KafkaFailure: or one of its kinds.
        """
        if self._partition is None:
            admin = self._administration()
            try:
                differences = topics.ensure_topics(admin, self._pipeline, self._topic_settings)
            except NotAuthorized as error:
                differences = ()
                if any(admin.partitions(name) is None for name in (topics.requests(self._pipeline), topics.TELEMETRY)):
                    raise
                log.info("topics.not_compared", extra={"pipeline": self._pipeline, "reason": str(error)})
            for difference in differences:
                log.warning("topics.differ", extra={"pipeline": self._pipeline, "difference": difference})
            count = admin.partitions(topics.TELEMETRY) or topics.TELEMETRY_PARTITIONS
            self._partition = partition_of(self._pipeline.encode(), count)
        return self._partition

    def sample(self, fleet: FleetStatus | None, control: Control | None) -> ArrivalSample:
        """See `ArrivalSampler.sample`."""
        with self._renewed_after_failure():
            if self._sampler is None:
                self._sampler = ArrivalSampler(self._administration(), self._pipeline, self._clock)
            return self._sampler.sample(fleet, control)

    def publish(self, record: TelemetryRecord) -> int:
        """Write one record of this pipeline and wait until it is kept.

        Returns:
            Its offset.

        Raises:
            KafkaFailure: or one of its kinds; it may yet be kept.
        """
        with self._renewed_after_failure(), translated(f"write to {topics.TELEMETRY}"):
            if self._producer is None:
                self._producer = new_producer(
                    self._kafka,
                    f"penstock-autoscaler-{self._pipeline}",
                    max_block_ms=int(_REQUEST_S * 1000),
                    # A sample that could not be written by then is outdated.
                    delivery_timeout_ms=int(_REQUEST_S * 1000) + 500,
                )
            sent = self._producer.send(
                topics.TELEMETRY, key=telemetry.key(record), value=telemetry.encode(record), partition=self.prepare()
            )
            return int(sent.get(timeout=_REQUEST_S + 1).offset)

    def recent(self, since_s: float, until_offset: int) -> list[tuple[int, TelemetryRecord]]:
        """This pipeline's records since a moment and before an offset, in order; malformed ones are left out.

        Raises:
            KafkaFailure: or one of its kinds.
        """
        key = self._pipeline.encode()
        found = []
        for entry in read_since(
            self._kafka,
            topics.TELEMETRY,
            self.prepare(),
            since_s=since_s,
            until_offset=until_offset,
            timeout_s=_REPLAY_S,
        ):
            if entry.key == key:
                with contextlib.suppress(MalformedTelemetry):
                    found.append((entry.offset, telemetry.decode(entry.value)))
        return [(offset, record) for offset, record in found if record.pipeline == self._pipeline]

    def remove_members(self, group: str, names: Iterable[str]) -> None:
        """Make members that will not come back leave a group now.

        Raises:
            KafkaFailure: or one of its kinds.
        """
        with self._renewed_after_failure():
            self._administration().remove_static_members(group, names)

    def close(self) -> None:
        """Close what is open; the next call opens it again."""
        admin, producer = self._admin, self._producer
        self._admin = self._producer = self._sampler = None
        if producer is not None:
            close_producer(producer, timeout_s=0.5)
        if admin is not None:
            with contextlib.suppress(KafkaFailure):
                admin.close()

    def _administration(self) -> Admin:
        if self._admin is None:
            self._admin = Admin(self._kafka, f"penstock-autoscaler-{self._pipeline}")
        return self._admin

    @contextlib.contextmanager
    def _renewed_after_failure(self) -> Any:
        try:
            yield
        except KafkaFailure:
            self.close()
            raise
