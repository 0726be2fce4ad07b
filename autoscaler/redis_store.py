"""Metrics, history and control in Redis, behind a thread of its own: a tick never waits for Redis nor sees it fail.

Keys, each with the prefix `penstock:<pipeline>:` (docs/reference/redis.md shows them): `metrics` and `workers`
(hashes, rewritten whole), `rates` and `decisions` (trimmed streams), `memory` (a string: what the policy has learnt),
`control` (a hash that a person writes); for each shadow policy `shadow:<policy>` (hash) and
`shadow:<policy>:decisions` (trimmed stream). What a stream missed while Redis was away is kept, up to a bound, and
written in order when it returns. Entry ids are made here from the entry's time, so a write whose answer was lost is
recognised when it is tried again. Commands within Redis 6.2.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from autoscaler import redis_fields
from autoscaler.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from autoscaler.model import ArrivalSample, Control, Decision, Observation
    from autoscaler.redis_fields import Fields, RatePoint

log = logging.getLogger(__name__)

#: How Redis refuses an entry whose id is not above the stream's newest.
_ID_REFUSED = "equal or smaller"
#: Entries in one round trip: enough to catch up within seconds, short enough to be done within the time-out.
_BATCH = 200


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How patient the store is, and how much it keeps."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Seconds that one answer may take. Redis answers within milliseconds; longer is as good as away.
    timeout_s: float = 0.5
    #: Seconds between two visits: control is read and the missed entries are tried so often.
    interval_s: float = 1.0
    #: Entries of each stream kept in memory while Redis is away: an hour at one a second.
    buffer_entries: int = 3600
    #: Entries kept of the `rates` stream (about): an hour at one a second.
    rates_entries: int = 3600
    #: Entries kept of the `decisions` stream (about): nearly three hours at one a second, about 15 MB.
    decisions_entries: int = 10_000
    #: Seconds between two log lines about the same trouble.
    complain_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("timeout_s", "interval_s", "buffer_entries", "rates_entries", "decisions_entries", "complain_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"redis.{name}={getattr(self, name)}: must be above 0; leave it out for the default")


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How the store is doing."""

    #: `None` = not tried yet, or no Redis is configured.
    connected: bool | None
    #: Stream entries that wait.
    waiting: int
    #: Stream entries that were given up because the buffer was full.
    dropped: int


class MetricsStore:
    """One pipeline's keys. Every method but `recent_rates` returns at once, and none raises because of Redis.

    Args:
        url: `redis://user:password@host:port/db`; `None` = no Redis: nothing is kept, nothing is asked for.
        pipeline: Its name.
        settings: Patience and sizes.

    Raises:
        ValueError: the URL is none that Redis clients take.
    """

    def __init__(self, url: str | None, pipeline: str, settings: StoreSettings | None = None) -> None:
        self._settings = settings or StoreSettings()
        self._prefix = f"penstock:{pipeline}:"
        self._redis: Any = None if url is None else client_of(url, self._settings.timeout_s)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._metrics: Fields | None = None
        self._workers: Fields | None = None
        self._shadows: dict[str, Fields] = {}
        self._streams = {
            "rates": _Stream(self._settings.rates_entries, self._settings.buffer_entries),
            "decisions": self._new_decisions(),
        }
        #: Makes the policy's memory as text, when it is to be written; `None` = there is nothing new.
        self._memory: Callable[[], str] | None = None
        self._control: Control | None = None
        self._problems: tuple[str, ...] = ()
        self._connected: bool | None = None
        self._complained_at_s = float("-inf")

    def start(self) -> None:
        """Begin to read `control` and to write what was recorded."""
        if self._redis is not None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="redis-store", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what is left, as far as Redis takes it now, and end."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=self._settings.timeout_s * 8)
            self._thread = None
        if self._redis is not None:
            self._redis.close()

    def record(
        self,
        sample: ArrivalSample,
        observation: Observation,
        decision: Decision,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Take one tick: metrics and workers as they are now, one more entry in `rates` and `decisions`.

        Args:
            sample: What the tick began with.
            observation: What was known.
            decision: What was decided.
            more: Further fields of `metrics` and of the decision, e.g. owner and epoch; `None` is left out.
        """
        if self._redis is None:
            return
        extra = more or {}
        with self._lock:
            complaint = "; ".join(self._problems) or None
            self._metrics = redis_fields.metrics(observation, decision, {**extra, "control_problems": complaint})
            self._workers = {name: redis_fields.worker_entry(report) for name, report in observation.reports.items()}
            self._streams["rates"].add(sample.at_s, redis_fields.rate_entry(sample, observation))
            self._streams["decisions"].add(decision.at_s, redis_fields.decision_entry(observation, decision, extra))
        self._wake.set()

    def record_shadow(
        self, name: str, observation: Observation, decision: Decision | None, more: Mapping[str, object]
    ) -> None:
        """Take one decision of a policy that is not obeyed.

        Args:
            name: The policy, as in the settings.
            observation: What was known.
            decision: What it would have decided; `None` = nothing yet.
            more: How it stands beside the policy in charge.
        """
        if self._redis is None:
            return
        key = f"shadow:{name}"
        with self._lock:
            if decision is None:
                self._shadows[key] = redis_fields.flat({"at_s": observation.at_s, **more})
            else:
                self._shadows[key] = redis_fields.shadow(decision, more)
                if more.get("shadow_failed") is None:
                    if f"{key}:decisions" not in self._streams:
                        self._streams[f"{key}:decisions"] = self._new_decisions()
                    entry = redis_fields.decision_entry(observation, decision, more)
                    self._streams[f"{key}:decisions"].add(decision.at_s, entry)
        self._wake.set()

    def remember(self, written: Callable[[], str]) -> None:
        """Keep what the policy remembers, instead of what was kept before; in time, or not while Redis is away.

        Args:
            written: Makes text of it, in the thread of the store; a `ValueError` is logged and no more.
        """
        with self._lock:
            self._memory = written

    def recall(self) -> str | None:
        """What was kept; `None` = nothing. Blocks for a few time-outs at most.

        Raises:
            StoreUnavailable: Redis does not answer; go on without.
        """
        if self._redis is None:
            return None
        try:
            found = self._redis.get(self._prefix + "memory")
        except (redis.RedisError, OSError, UnicodeDecodeError) as error:
            raise StoreUnavailable(f"the policy's memory cannot be read from Redis: {error}") from error
        return None if found is None else str(found)

    def control(self) -> Control | None:
        """What a person asked for when it was last read, about a second ago; `None` = it could never be read."""
        with self._lock:
            return self._control

    def control_problems(self) -> tuple[str, ...]:
        """What stands in `control` and cannot be obeyed, one sentence each."""
        with self._lock:
            return self._problems

    def health(self) -> StoreHealth:
        """How the store is doing."""
        with self._lock:
            streams = self._streams.values()
            return StoreHealth(self._connected, sum(len(s.waiting) for s in streams), sum(s.dropped for s in streams))

    def recent_rates(self, seconds: float) -> tuple[RatePoint, ...]:
        """The newest `seconds` of the history, oldest first; blocks for a few time-outs at most.

        Raises:
            StoreUnavailable: Redis does not answer; go on without the history.
        """
        if self._redis is None:
            return ()
        try:
            entries = self._redis.xrevrange(self._prefix + "rates", count=self._settings.rates_entries)
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(
                f"the history of rates cannot be read from Redis: {error}; check that it runs"
            ) from error
        points = sorted(
            (point for _, fields in entries if (point := redis_fields.rate_point(fields))), key=lambda point: point.at_s
        )
        return tuple(point for point in points if point.at_s > points[-1].at_s - seconds)

    def _run(self) -> None:
        while True:
            self._wake.wait(self._settings.interval_s)
            self._wake.clear()
            stopping = self._stopping
            try:
                self._visit()
            except Exception as error:  # noqa: BLE001 - whatever Redis does, this thread goes on
                self._away(error)
                if not stopping and not self._stopping:
                    # Recording wakes this thread each tick; a server that is away is not asked more often than that.
                    time.sleep(self._settings.timeout_s)
            if stopping:
                return

    def _new_decisions(self) -> _Stream:
        return _Stream(self._settings.decisions_entries, self._settings.buffer_entries)

    def _visit(self) -> None:
        """One round: read control, write the hashes, then the streams."""
        fields = self._redis.hgetall(self._prefix + "control")
        self._obey(fields)
        with self._lock:
            metrics, self._metrics = self._metrics, None
            workers, self._workers = self._workers, None
            shadows, self._shadows = self._shadows, {}
            streams = tuple(self._streams.items())
        try:
            self._rewrite({"metrics": metrics, "workers": workers, **shadows})
        except BaseException:
            self._put_back(metrics, workers, shadows)
            raise
        for name, stream in streams:
            self._drain(name, stream)
        self._keep_memory()
        if not self._connected:
            log.info("redis.connected", extra={"prefix": self._prefix})
        self._connected = True
        self._complained_at_s = float("-inf")

    def _put_back(self, metrics: Fields | None, workers: Fields | None, shadows: Mapping[str, Fields]) -> None:
        """Keep what could not be written, unless something newer has come meanwhile."""
        with self._lock:
            self._metrics = metrics if self._metrics is None else self._metrics
            self._workers = workers if self._workers is None else self._workers
            self._shadows = {**shadows, **self._shadows}

    def _obey(self, fields: Mapping[str, str]) -> None:
        control, problems = redis_fields.control(fields)
        with self._lock:
            new = problems != self._problems
            self._control, self._problems = control, problems
        if new and problems:
            log.warning("redis.control_ignored", extra={"key": self._prefix + "control", "problems": problems})

    def _rewrite(self, hashes: Mapping[str, Fields | None]) -> None:
        if all(fields is None for fields in hashes.values()):
            return
        # In one transaction, so that no reader sees a hash without its fields or with those of a tick before.
        with self._redis.pipeline(transaction=True) as pipe:
            for name, fields in hashes.items():
                if fields is not None:
                    pipe.delete(self._prefix + name)
                    if fields:
                        pipe.hset(self._prefix + name, mapping=fields)
            pipe.execute()

    def _keep_memory(self) -> None:
        with self._lock:
            written, self._memory = self._memory, None
        if written is None:
            return
        try:
            text = written()
        except ValueError as error:
            log.warning("redis.memory_not_kept", extra={"error": str(error)})
            return
        self._redis.set(self._prefix + "memory", text)

    def _drain(self, name: str, stream: _Stream) -> None:
        key = self._prefix + name
        while True:
            with self._lock:
                batch = [stream.waiting[i] for i in range(min(_BATCH, len(stream.waiting)))]
            if not batch:
                return
            with self._redis.pipeline(transaction=False) as pipe:
                for entry in batch:
                    pipe.xadd(key, entry.fields, id=entry.id, maxlen=stream.keep, approximate=True)
                answers = pipe.execute(raise_on_error=False)
            for entry, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Exception):
                    if _ID_REFUSED not in str(answer):
                        raise answer
                    self._place(key, stream, entry)
                with self._lock:
                    stream.done(entry)

    def _place(self, key: str, stream: _Stream, entry: _Entry) -> None:
        """An entry whose id was refused: it is there already, or another writer (or a set clock) is ahead of it."""
        if any(fields == entry.fields for _, fields in self._redis.xrange(key, entry.id, entry.id)):
            return
        (newest, _), *_ = self._redis.xrevrange(key, count=1)
        with self._lock:
            stream.go_beyond(newest)
            entry.id = stream.next_id(0)
        self._redis.xadd(key, entry.fields, id=entry.id, maxlen=stream.keep, approximate=True)

    def _away(self, error: Exception) -> None:
        now_s = time.monotonic()
        if self._connected is not False or now_s - self._complained_at_s > self._settings.complain_s:
            self._complained_at_s = now_s
            log.warning(
                "redis.away",
                extra={
                    "error": f"{type(error).__name__}: {error}",
                    "consequence": "scaling goes on; missed entries are kept and written later",
                },
            )
        self._connected = False


@dataclass(slots=True)
class _Entry:
    id: str
    fields: Fields


class _Stream:
    """What of one stream waits to be written. The owner's lock is held around each call."""

    def __init__(self, keep: int, buffer: int) -> None:
        self.keep = keep
        self.waiting: deque[_Entry] = deque()
        self.dropped = 0
        self._buffer = buffer
        self._last = (0, 0)

    def add(self, at_s: float, fields: Fields) -> None:
        if len(self.waiting) >= self._buffer:
            self.waiting.popleft()
            self.dropped += 1
        self.waiting.append(_Entry(self.next_id(int(at_s * 1000)), fields))

    def next_id(self, at_ms: int) -> str:
        """An id for that time, above all given before."""
        ms, number = self._last
        self._last = (at_ms, 0) if at_ms > ms else (ms, number + 1)
        return f"{self._last[0]}-{self._last[1]}"

    def go_beyond(self, entry_id: str) -> None:
        """Ids from here on are above this one."""
        ms, _, number = entry_id.partition("-")
        self._last = max(self._last, (int(ms), int(number)))

    def done(self, entry: _Entry) -> None:
        # A full buffer may have dropped it meanwhile.
        if self.waiting and self.waiting[0] is entry:
            self.waiting.popleft()


def client_of(url: str, timeout_s: float) -> Any:
    """A client that answers or fails within `timeout_s` seconds and tries nothing again.

    Raises:
        ValueError: the URL is none that Redis clients take.
    """
    try:
        return redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # Tries again are made by our own loop, which knows what it has written.
            retry=Retry(NoBackoff(), 0),
            # What Redis 6.2 speaks for certain.
            protocol=2,
            client_name="penstock-autoscaler",
        )
    except ValueError as error:
        # The URL may hold a password: it is not repeated.
        raise ValueError(
            "redis_url is not understood: write redis://user:password@host:port/0, or rediss:// for TLS"
        ) from error
