"""What all candidates share: the broker, the model, the requests, and topics that are the same for everybody."""

from __future__ import annotations

import base64
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.bench import candidates as names
from penstock.bench.children import Child
from penstock.bench.errors import CandidateFailed
from penstock.bench.kafka_side import PARTITIONS, Results, Topics, content, write
from penstock.bench.saturation import FIRST_RESULT_S
from penstock.bench.workload import Workload
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from penstock.bench.candidates import Candidate
    from penstock.bench.options import Options
    from penstock.demo.digits import Digits
    from streams.kafka import Admin


@dataclass(slots=True)
class Ground:
    """One run's."""

    options: Options
    #: Data of the run, a folder a pipeline.
    directory: Path
    digits: Digits
    bootstrap: str
    #: Process id of the broker.
    broker: int
    admin: Admin
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _workloads: dict[tuple[str, int], Workload] = field(default_factory=dict)
    _template: dict[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        """Take one result of our worker's, whose very bytes the limits without a model write."""
        self._template = self._sample_result()

    def new_topics(self) -> Topics:
        """As the product makes them, the same for everybody."""
        made = Topics(f"bench-{next(self._numbers)}")
        ensure_topics(self.admin, made.pipeline, TopicSettings(partitions=PARTITIONS))
        return made

    def workload(self, one: Candidate) -> Workload:
        """The requests of a candidate's kind."""
        kind = (one.encoding, one.rows)
        if kind not in self._workloads:
            self._workloads[kind] = Workload(self.digits, *kind)
        return self._workloads[kind]

    def child(self, one: Candidate, topics: Topics, directory: Path) -> Child:
        """A candidate, started."""
        profile = self.options.profiles is not None and one.program == names.PENSTOCK
        return Child(
            one, topics=topics, bootstrap=self.bootstrap, model=self.digits.model, directory=directory,
            extra=self.options.worker, told=None if one.computes else self._template,
            profile=profile,
        )  # fmt: skip

    def _sample_result(self) -> dict[str, Any]:
        """One result as our worker writes it: the client's limit writes its very bytes."""
        one = names.select([names.PENSTOCK])[0]
        topics = self.new_topics()
        workload = self.workload(one)
        write(self.bootstrap, topics.requests, (workload.request(number) for number in range(64)))
        deadline = time.monotonic() + FIRST_RESULT_S
        try:
            with (
                self.child(one, topics, self.directory / topics.pipeline) as child,
                Results(self.bootstrap, topics.results) as results,
            ):
                while not results.follow(0.2):
                    child.check()
                    if time.monotonic() > deadline:
                        raise CandidateFailed("our worker gave no result to copy", f"read {child.log_path}")
                _, value, headers = content(results.arrivals[0].messages[0])
        finally:
            self.admin.delete_topics(topics.all)
        encoded = [[name, base64.b64encode(text).decode()] for name, text in headers]
        return {"result_value": base64.b64encode(value or b"").decode(), "result_headers": encoded}
