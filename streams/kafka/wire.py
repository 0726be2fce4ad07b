"""Connections that kafka-python has made and authenticated, and on which we send and read frames ourselves.

kafka-python's loop takes four rounds, several objects and as many registrations with the kernel for one request and its
answer; that is most of what a small transaction or fetch costs. Here its client connects (TLS, SASL, the exchange of
versions) and then lets go of the socket, which one thread of ours reads and writes without any loop.
"""

from __future__ import annotations

import select
import ssl
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from kafka import errors as kafka_errors
from kafka.net.connection import KafkaConnection

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Mapping

    from streams.kafka.frames import Frame

_SIZE = struct.Struct(">i")
#: Bytes read at once while the size of an answer is not known yet: a socket's usual buffer.
_READ_BYTES = 65_536
#: Part of a login's life after which its connection is replaced, between two requests: kafka-python logs in again at
#: 0.85 at the earliest.
_LOGIN_LIFE = 0.8
#: Seconds between looks at kafka-python's timers while it connects.
_CONNECTING_LOOK_S = 0.02
#: Seconds without traffic after which it is looked whether the broker has closed the connection. What it closes sooner,
#: being stopped, shows by an error.
_LOOK_S = 0.5
#: Longest that one connection may take, in seconds; after it the broker counts as away.
_CONNECT_S = 10.0

_WAITS_TO_READ = (BlockingIOError, InterruptedError, ssl.SSLWantReadError)


class Wire:
    """One broker's socket. Belongs to one thread. Answers come in the order of their requests.

    Args:
        connected: the socket, not blocking, with nothing under way.
        client_id: shown in the broker's logs and quotas.
        number: of the last request on it.
        idle_s: after so many seconds without traffic the broker may have closed it.
        login_s: seconds after which a login ends; infinite where there is none.
        most_bytes: largest answer that is taken.
        close: closes it, told why or nothing.

    """

    def __init__(
        self,
        connected: socket.socket,
        *,
        client_id: str,
        number: int,
        idle_s: float,
        login_s: float,
        most_bytes: int,
        close: Callable[[Exception | None], None],
    ) -> None:
        self._socket, self._client, self._number = connected, client_id.encode(), number
        self._idle_s, self._most_bytes, self._close = idle_s, most_bytes, close
        self._used_s = time.monotonic()
        self._ends_s = self._used_s + login_s * _LOGIN_LIFE
        self._owed: deque[int] = deque()
        #: A request was sent and nothing read since.
        self._asked = False
        #: What was read of the next answers.
        self._read = bytearray()
        #: An answer larger than one read: its memory, and how much of it is filled.
        self._large: tuple[bytearray, int] | None = None

    def fileno(self) -> int:
        """For waiting."""
        return self._socket.fileno()

    @property
    def owes(self) -> int:
        """Requests without an answer yet."""
        return len(self._owed)

    def stale(self) -> bool:
        """Whether the next request needs another one: closed by the broker, or too old, or silent for too long."""
        now_s = time.monotonic()
        if now_s > self._ends_s or now_s - self._used_s > self._idle_s:
            return True
        if self._owed or now_s - self._used_s < _LOOK_S:
            return False
        # Between requests nothing comes but the end.
        try:
            self._receive()
        except _WAITS_TO_READ:
            return False
        except OSError:
            return True
        return True

    def send(self, frame: Frame, deadline: float) -> None:
        """Write a request; waits while the socket is full.

        Raises:
            kafka.errors.KafkaConnectionError: the connection has ended.
            kafka.errors.RequestTimedOutError: not written before `deadline` (monotonic seconds).

        """
        self._number = (self._number + 1) % 2**31
        rest = memoryview(frame.sealed(self._number, self._client))
        self._owed.append(self._number)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT, deadline)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)
            except OSError as error:
                raise kafka_errors.KafkaConnectionError(str(error)) from error
        self._asked = True
        self._used_s = time.monotonic()

    def answer(self, deadline: float) -> tuple[memoryview, int]:
        """The next answer and where its body begins; waits for it.

        Raises:
            kafka.errors.KafkaConnectionError: the connection has ended.
            kafka.errors.RequestTimedOutError: none before `deadline` (monotonic seconds).

        """
        if self._asked:
            # Nothing of the answer can be here yet, nor between the socket and us.
            self._wait(select.POLLIN, deadline)
        while (found := self.take()) is None:
            self._wait(select.POLLIN, deadline)
        return found

    def take(self) -> tuple[memoryview, int] | None:
        """The next answer and where its body begins, if it is there. Does not wait.

        Raises:
            kafka.errors.KafkaConnectionError: the connection has ended, or said what nobody had asked.

        """
        self._asked = False
        try:
            while (whole := self._whole()) is None:
                self._read_more()
        except _WAITS_TO_READ:
            return None
        except OSError as error:
            raise kafka_errors.KafkaConnectionError(str(error)) from error
        self._used_s = time.monotonic()
        number = self._owed.popleft() if self._owed else None
        if len(whole) < _SIZE.size + 1 or _SIZE.unpack_from(whole)[0] != number:
            raise kafka_errors.KafkaConnectionError("an answer that belongs to no request")
        # Tagged fields of the head: none are defined.
        if whole[_SIZE.size] != 0:
            raise kafka_errors.KafkaConnectionError("an answer with a head of a later version")
        return whole, _SIZE.size + 1

    def close(self, error: Exception | None = None) -> None:
        """Close it; what is owed will not come."""
        self._owed.clear()
        self._close(error)

    # --- reading

    def _whole(self) -> memoryview | None:
        """An answer of which all is there, without its size; `None` = read more."""
        if self._large is not None:
            memory, filled = self._large
            if filled < len(memory):
                return None
            self._large = None
            return memoryview(memory)
        if len(self._read) < _SIZE.size:
            return None
        size = _SIZE.unpack_from(self._read)[0]
        if not 0 <= size <= self._most_bytes:
            raise kafka_errors.KafkaConnectionError(f"an answer of {size} bytes; at most {self._most_bytes} are taken")
        end = _SIZE.size + size
        if len(self._read) >= end:
            whole = bytes(self._read[_SIZE.size : end])
            del self._read[:end]
            return memoryview(whole)
        if size > _READ_BYTES:
            memory = bytearray(size)
            filled = len(self._read) - _SIZE.size
            memory[:filled] = self._read[_SIZE.size :]
            self._read.clear()
            self._large = (memory, filled)
        return None

    def _read_more(self) -> None:
        if self._large is None:
            self._read += self._receive()
            return
        memory, filled = self._large
        count = self._socket.recv_into(memoryview(memory)[filled:])
        if count == 0:
            raise ConnectionResetError("the broker closed the connection")
        self._large = (memory, filled + count)

    def _receive(self) -> bytes:
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("the broker closed the connection")
        return data

    def _wait(self, event: int, deadline: float) -> None:
        left_s = deadline - time.monotonic()
        poller = select.poll()
        poller.register(self._socket, event)
        if left_s <= 0 or not poller.poll(left_s * 1000):
            raise kafka_errors.RequestTimedOutError


class Wires:
    """A wire for each broker, made when it is first wanted. Belongs to one thread.

    Args:
        network: kafka-python's client, whose connections are not touched: each wire is one more.

    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self._manager = network._manager  # noqa: SLF001 - see the module
        self._wires: dict[int, Wire] = {}
        self._connecting: dict[int, Any] = {}

    def at_hand(self, node: int, broker: Any) -> Wire | None:
        """The wire to a broker; `None` = it is being made, or its broker is left alone for a moment after a failure.

        Args:
            node: id of the broker.
            broker: its address, as kafka-python's cluster has it; `None` = not known.

        Raises:
            kafka.errors.KafkaError: the last try to connect failed, for which the broker is left alone for a while.

        """
        wire = self._wires.get(node)
        if wire is not None:
            if wire.owes or not wire.stale():
                return wire
            self.drop(node)
        connection = self._connecting.get(node)
        if connection is None:
            self._manager.maybe_raise_auth_failure(node)
            if broker is None or self._manager.connection_delay(node) > 0:
                return None
            connection = self._connect(node, broker)
        if not connection.init_future.is_done:
            return None
        del self._connecting[node]
        if connection.init_future.failed():
            raise connection.init_future.exception
        if connection.transport is None:
            raise kafka_errors.KafkaConnectionError(f"broker {node} closed the connection before it was used")
        wire = self._wires[node] = _taken_over(connection, self._manager.config)
        return wire

    def to(self, node: int, broker: Any, deadline: float) -> Wire:
        """The wire to a broker; waits until it is made.

        Raises:
            kafka.errors.KafkaError: the broker cannot be reached, or not before `deadline` (monotonic seconds).

        """
        wire = self.at_hand(node, broker)
        while wire is None:
            connection = self._connecting.get(node)
            left_s = deadline - time.monotonic()
            if connection is None or left_s <= 0:
                raise kafka_errors.NodeNotReadyError(node)
            self._network.poll(timeout_ms=left_s * 1000, future=connection.init_future)
            wire = self.at_hand(node, broker)
        return wire

    def wait(self, wires: Collection[Wire], timeout_s: float) -> None:
        """Wait until one of these can be read, or one that is being made has got on."""
        poller = select.poll()
        for wire in wires:
            poller.register(wire, select.POLLIN)
        if self._connecting:
            poller.register(self._manager._net._selector, select.POLLIN)  # noqa: SLF001 - see the module
            timeout_s = min(timeout_s, _CONNECTING_LOOK_S)
        poller.poll(timeout_s * 1000)
        if self._connecting:
            self._network.poll(timeout_ms=0)

    @property
    def connecting(self) -> bool:
        """Whether some are being made."""
        return bool(self._connecting)

    def drop(self, node: int, error: Exception | None = None) -> None:
        """Close the wire to a broker: the next is a new one."""
        wire = self._wires.pop(node, None)
        if wire is not None:
            wire.close(error)

    def close(self) -> None:
        """Close all."""
        for node in list(self._wires):
            self.drop(node)
        for connection in self._connecting.values():
            connection.close()
        self._connecting.clear()

    def _connect(self, node: int, broker: Any) -> Any:
        manager = self._manager
        connection = KafkaConnection(
            manager._net,  # noqa: SLF001 - see the module
            node_id=node,
            broker_version_data=manager.broker_version_data,
            **manager.config,
        )
        self._connecting[node] = connection
        until_s = time.monotonic() + min(_CONNECT_S, manager.socket_connection_setup_timeout_ms(node) / 1000)
        manager._net.call_soon(lambda: manager._connect(broker, connection, timeout_at=until_s))  # noqa: SLF001
        return connection


def _taken_over(connection: Any, config: Mapping[str, Any]) -> Wire:
    """The socket of one of kafka-python's connections, which nobody else reads or writes from now on."""
    transport, login = connection.transport, connection._reauth  # noqa: SLF001 - see the module
    # The loop must neither read what is ours nor log in again in the middle of it.
    login.cancel()
    connection.net.cancel(transport._read_task)  # noqa: SLF001 - see the module
    transport._read_task = None  # noqa: SLF001 - see the module
    return Wire(
        transport._sock,  # noqa: SLF001 - see the module
        client_id=config["client_id"],
        # Numbers go on where the client's stopped.
        number=connection.parser._correlation_id,  # noqa: SLF001 - see the module
        idle_s=config["connections_max_idle_ms"] / 1000,
        login_s=login.session_lifetime_ms / 1000 or float("inf"),
        most_bytes=connection.config["receive_message_max_bytes"],
        close=connection.close,
    )
