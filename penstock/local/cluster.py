"""Embedded Kafka nodes one by one: a cluster of one or three whose nodes can be stopped, killed and started again.

`penstock.local.services` is what people run; this is for tests of what happens when a broker goes away. A cluster is
ephemeral: its processes and its data end with the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from penstock.errors import ServiceFailed
from penstock.local import guard, kafka_node, ports
from penstock.local.kafka_node import KafkaNode, new_cluster_id
from penstock.local.kafka_properties import BrokerSpec, Voter
from penstock.local.paths import Layout, make_private
from penstock.local.process import find

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path
    from types import TracebackType

    from penstock.local.java import Java
    from penstock.local.process import ProcessRef

#: Folder of a node within `.penstock`.
_FOLDER = "node-{}"
#: Longest wait for a node, in seconds. Nodes start beside each other and beside whatever a fault test is doing, and a
#: node that was away replays its log first: with no cores left over, two minutes were not enough.
READY_TIMEOUT_S = 600.0


class LocalCluster:
    """Kafka nodes of one cluster, each broker and controller. `start` makes one.

    Attributes:
        bootstrap: addresses of all nodes, `host:port` separated by commas.
        node_ids: 1, 2, ...
    """

    def __init__(self, root: Path, nodes: dict[int, KafkaNode], watcher: subprocess.Popen[bytes]) -> None:
        self._root, self._nodes, self._guard = root, nodes, watcher
        self._processes: dict[int, ProcessRef] = {}
        self.node_ids = tuple(nodes)
        self.bootstrap = ",".join(f"{ports.HOST}:{node.spec.port}" for node in nodes.values())

    @classmethod
    def start(cls, directory: Path, java: Java, *, nodes: int = 3) -> Self:
        """Start all nodes and wait until each serves.

        Args:
            directory: an empty one; data goes to `<directory>/.penstock/`.
            java: the runtime with Kafka's jars.
            nodes: 3 survive the loss of one; 1 is the least.

        Raises:
            ServiceFailed: a node does not come up; nothing is left running.
        """
        layout = Layout.of(directory)
        make_private(layout.root)
        taken: set[int] = set()
        for _ in range(2 * nodes):
            taken.add(ports.pick(None, "", last=0, avoid=frozenset(taken)))
        chosen = sorted(taken)
        voters = tuple(Voter(number + 1, chosen[number]) for number in range(nodes))
        cluster_id = new_cluster_id()
        made = {
            voter.node_id: KafkaNode(
                BrokerSpec(layout.root / _FOLDER.format(voter.node_id), chosen[nodes + number], voter.node_id, voters),
                java,
                cluster_id,
            )
            for number, voter in enumerate(voters)
        }
        cluster = cls(layout.root, made, guard.start(layout.directory))
        try:
            with ThreadPoolExecutor(nodes, thread_name_prefix="format") as pool:
                list(pool.map(KafkaNode.format, made.values()))
            for node_id in cluster.node_ids:
                cluster.start_node(node_id)
            for node_id in cluster.node_ids:
                cluster.wait_ready(node_id)
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def stop_node(self, node_id: int) -> None:
        """Stop a node in good order: it hands its partitions over first."""
        self._processes.pop(node_id).stop(timeout_s=kafka_node.STOP_TIMEOUT_S)

    def kill_node(self, node_id: int) -> None:
        """SIGKILL a node, and wait until it is gone."""
        process = self._processes.pop(node_id).process()
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait(kafka_node.STOP_TIMEOUT_S)

    def start_node(self, node_id: int) -> None:
        """Start a node that was stopped or killed; `wait_ready` tells when it serves."""
        self._processes[node_id] = self._nodes[node_id].start()

    def wait_ready(self, node_id: int) -> None:
        """Wait until a node serves.

        Raises:
            ServiceFailed: it has ended, or takes too long.
        """
        self._nodes[node_id].wait_ready(self._processes[node_id], READY_TIMEOUT_S)

    def running(self, node_id: int) -> bool:
        """Whether the node's process runs."""
        return node_id in self._processes and self._processes[node_id].alive()

    def mend(self) -> None:
        """Start the nodes that do not run, and wait for them.

        Raises:
            ServiceFailed: one does not come up.
        """
        missing = [node_id for node_id in self.node_ids if not self.running(node_id)]
        for node_id in missing:
            self.start_node(node_id)
        for node_id in missing:
            self.wait_ready(node_id)

    def stop(self) -> None:
        """End all nodes and delete their data. Stopping twice does no harm."""
        stop_leftovers(self._root)
        self._processes.clear()
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def stop_leftovers(root: Path) -> None:
    """Kill the nodes of a cluster, found by their folders, and delete these. For ephemeral data a kill is enough."""
    for folder in sorted(root.glob(_FOLDER.format("*"))):
        process = find(kafka_node.PROGRAM, str(folder / "server.properties"))
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            with contextlib.suppress(ServiceFailed):
                process.stop(timeout_s=kafka_node.STOP_TIMEOUT_S)
        shutil.rmtree(folder, ignore_errors=True)
