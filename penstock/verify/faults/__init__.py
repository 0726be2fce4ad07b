"""The fault matrix: each kind of trouble by its name."""

from __future__ import annotations

from penstock.verify.faults.base import Facts, Fault
from penstock.verify.faults.brokers import BrokerRestart, BrokerSigkill, ResultsUnavailable
from penstock.verify.faults.redis import RedisGone
from penstock.verify.faults.workers import ClockStep, RebalanceStorm, Sigkill, Zombie

__all__ = ["FAULTS", "Facts", "Fault"]

#: In the order in which they are run and shown.
FAULTS: dict[str, type[Fault]] = {
    kind.name: kind
    for kind in (
        Sigkill,
        Zombie,
        RebalanceStorm,
        BrokerRestart,
        BrokerSigkill,
        ResultsUnavailable,
        RedisGone,
        ClockStep,
    )
}
