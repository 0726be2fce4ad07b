"""What all tests share: the real services, one pair a session, and an environment without settings of the caller's."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import hypothesis
import pytest

from penstock.local.paths import CACHE_VARIABLE
from penstock.local.services import LocalServices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.kafka.settings import KafkaSettings


# Properties are about what comes out, not about how long a busy machine takes for one example.
hypothesis.settings.register_profile("penstock", deadline=None)
hypothesis.settings.load_profile("penstock")


def pytest_configure(config: pytest.Config) -> None:
    """Take the caller's settings out of the environment; only where the jars lie is left."""
    for name in [name for name in os.environ if name.startswith("PENSTOCK_") and name != CACHE_VARIABLE]:
        del os.environ[name]


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A real Kafka and a real Redis. A test that needs them fails where they cannot be had; it never skips."""
    with LocalServices.start(tmp_path_factory.mktemp("services"), ephemeral=True) as running:
        yield running


@pytest.fixture(scope="session")
def kafka_settings(services: LocalServices) -> KafkaSettings:
    """How to reach the session's Kafka."""
    from streams.kafka.settings import KafkaSettings  # noqa: PLC0415 - tests of other packages need no Kafka client

    return KafkaSettings(bootstrap_servers=services.bootstrap)


@pytest.fixture(scope="session")
def redis_url(services: LocalServices) -> str:
    """The URL of the session's Redis, password included."""
    return services.redis_url


@pytest.fixture
def pipeline() -> str:
    """A pipeline name that no other test has."""
    return f"test-{uuid.uuid4().hex[:10]}"
