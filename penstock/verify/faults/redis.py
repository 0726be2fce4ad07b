"""Trouble with Redis: no request goes through it, and the autoscaler goes on from memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from penstock.demo.surroundings import environment
from penstock.verify.errors import CannotVerify
from penstock.verify.faults.base import Facts, Fault

if TYPE_CHECKING:
    from random import Random

    from penstock.verify.stage import Stage

#: Seconds that Redis is away, at least and at most.
LEAST_AWAY_S, MOST_AWAY_S = 1.0, 3.0
#: Seconds for the autoscaler to start and own the pipeline, and for it to write again.
WRITES_S = 90.0
STOP_S = 30.0


class RedisGone(Fault):
    """Redis is killed, with all it held, and started again, while workers serve and an autoscaler decides."""

    name = "redis-gone"
    words = "Redis gets SIGKILL and is started again empty; workers and an (advising) autoscaler run"
    workers = 2
    redis = True

    def __init__(self) -> None:
        self._autoscaler: subprocess.Popen[bytes] | None = None

    def prepare(self, stage: Stage) -> None:
        """Start the autoscaler: one that advises, so that the workers stay those of the ledger."""
        arguments = ["autoscaler", "--config", str(stage.config), "--actuator", "advisory"]
        with (stage.directory / "autoscaler.log").open("ab") as output:
            self._autoscaler = subprocess.Popen(
                [sys.executable, "-m", "penstock", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(os.environ),
                start_new_session=True,
            )
        stage.until(lambda: self._writes(stage), "the autoscaler writes to Redis", WRITES_S)

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Measures `metrics_again_s`: from Redis' return to the autoscaler's first metrics in it."""
        if stage.redis is None:
            raise CannotVerify("there is no Redis to kill", "give the stage one")
        stage.redis.kill()
        time.sleep(random.uniform(LEAST_AWAY_S, MOST_AWAY_S))
        stage.redis.start()
        back_at_s = time.monotonic()
        stage.until(lambda: self._writes(stage), "the autoscaler writes to Redis again", WRITES_S)
        return {"metrics_again_s": time.monotonic() - back_at_s}

    def finish(self, stage: Stage) -> None:  # noqa: ARG002 - see the base
        """End the autoscaler."""
        if self._autoscaler is not None and self._autoscaler.poll() is None:
            self._autoscaler.send_signal(signal.SIGTERM)
            try:
                self._autoscaler.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._autoscaler.kill()
                self._autoscaler.wait()

    def _writes(self, stage: Stage) -> bool:
        """Whether metrics of the pipeline stand in Redis; after its restart it was empty."""
        import redis  # noqa: PLC0415 - here only

        if self._autoscaler is None or self._autoscaler.poll() is not None:
            said = (stage.directory / "autoscaler.log").read_text(encoding="utf-8", errors="replace")[-600:]
            raise CannotVerify(f"the autoscaler has ended: {said}", "see its log")
        if stage.redis is None:
            return False
        client = redis.Redis.from_url(stage.redis.url, socket_timeout=2.0, socket_connect_timeout=2.0)
        try:
            return bool(client.exists(f"penstock:{stage.pipeline}:metrics"))
        except redis.RedisError:
            return False
        finally:
            client.close()
