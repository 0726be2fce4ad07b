"""What every scaling policy is: an object that is told what is known and says what fleet it wants.

The same object runs live, in shadow and in the simulator. It reads no clock and keeps nothing: what it remembers is the
state that it hands out and gets back, so that a recorded tape gives the same decisions again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Decision, Observation, WorkerType


class Policy(Protocol):
    """A policy with its settings and its objective; built by `autoscaler.policies.registry.build`."""

    @property
    def name(self) -> str:
        """As on the command line, e.g. `penstock` or `keda`."""

    @property
    def tick_s(self) -> float:
        """Seconds between two decisions."""

    def initial(self) -> Any:
        """What the policy remembers before its first decision."""

    def decide(self, observation: Observation, worker_types: Sequence[WorkerType], state: Any) -> tuple[Decision, Any]:
        """One decision; a pure function of its arguments.

        Args:
            observation: All that is known; its `at_s` is the only clock.
            worker_types: As learnt so far, at least one.
            state: What the call before returned; `initial()` at first. Never changed in place.

        Returns:
            The whole fleet to be declared, with the reason; and the state for the next call.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
