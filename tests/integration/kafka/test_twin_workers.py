"""Two worker processes under one slot name on two hosts: no lock file stands between them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Pipeline

pytestmark = [pytest.mark.services, pytest.mark.tensorflow]


def test_the_elder_of_two_hosts_ends_with_its_exit_code(served: Pipeline) -> None:
    """Exit code 73 within seconds, though nothing is sent to it; the younger serves, and each is answered once."""
    served.start("w0")
    served.wait_ready("w0")
    elder = served.pids["w0"]
    # Another state directory is another host, as far as lock files go.
    elsewhere = served.directory / "elsewhere.toml"
    elsewhere.write_text(f'state_dir = "elsewhere"\n{served.config.read_text()}')
    argv = [sys.executable, "-m", "penstock", "worker", "--config", str(elsewhere), "--slot", "w0"]
    younger_log = served.directory / "younger.log"
    served.pids["younger"] = served.launcher.launch(argv, {**os.environ}, younger_log)
    code: list[int | None] = [None]

    def ended() -> bool:
        code[0] = code[0] if code[0] is not None else served.launcher.exit_code(elder)
        return code[0] is not None

    served.wait_until(lambda: younger_log.exists() and '"worker.ready"' in younger_log.read_text(), 60, "younger ready")
    served.wait_until(ended, 10, f"the elder ended\n{served.log('w0')[-2000:]}")
    assert code[0] == 73
    assert "another process" in served.log("w0")
    served.pids.pop("w0")
    for number in range(100):
        served.send(f"r{number}", np.full((1, 4), number))
    served.producer.flush()
    assert sorted(result.id for result in served.results(100)) == sorted(f"r{number}" for number in range(100))
    assert served.stop("younger") == 0
