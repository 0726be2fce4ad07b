"""Decoded requests that wait for the device: while one batch computes, the next is being decoded into here."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inference_workers.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference_workers.intake import Pending


@dataclass(slots=True)
class Front:
    """What could go into the next batch: consecutive, computed alike, at most as many rows as a batch takes."""

    #: Answered without the device; they go along.
    answers: list[Answer] = field(default_factory=list)
    batch: list[Pending] = field(default_factory=list)
    #: How many answers stand before each request of the batch.
    answers_before: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.answers) + len(self.batch)

    def first(self, count: int) -> Front:
        """The part with the first `count` requests, and the answers that do not stand behind a later one."""
        if count >= len(self.batch):
            return self
        before = self.answers_before[count]
        return Front(self.answers[:before], self.batch[:count], self.answers_before[:count])


class ReadyQueue:
    """First in, first out. One thread puts, one takes.

    Counted in rows, as batches are: two batches of wide requests are few requests, and many megabytes.

    Args:
        most: rows held, above which putting waits; what needs no device counts as one.
        changed: shared by queues that one thread waits on together.

    """

    def __init__(self, most: int, changed: threading.Condition | None = None) -> None:
        self._most = most
        self._items: deque[Answer | Pending] = deque()
        self._rows = 0
        #: Rows of an item, as of those put last.
        self._rows_each = 1.0
        self._changed = changed or threading.Condition()
        self._closed = False

    def hold(self, most: int) -> None:
        """Hold so many rows from now on: the largest batch is known once the model is warm."""
        with self._changed:
            self._most = most
            self._changed.notify_all()

    def room(self, timeout_s: float) -> int:
        """How many more items it takes if they are like the last, waiting up to `timeout_s` for room; 0 = none."""
        with self._changed:
            if self._rows >= self._most and not self._closed:
                self._changed.wait(timeout_s)
            left = 0 if self._closed else self._most - self._rows
            return max(int(left / self._rows_each), 1) if left > 0 else 0

    def put(self, items: Sequence[Answer | Pending]) -> None:
        """Add items in order."""
        with self._changed:
            if items and not self._closed:
                rows = sum([_rows(item) for item in items])
                self._items.extend(items)
                self._rows += rows
                self._rows_each = rows / len(items)
            self._changed.notify_all()

    def front(self, most_rows: int, most_items: int, timeout_s: float) -> Front:
        """What could go into the next batch, waiting up to `timeout_s` for a first item. Takes nothing out."""
        with self._changed:
            if not self._items and not self._closed and timeout_s > 0:
                self._changed.wait(timeout_s)
            return self._front(most_rows, most_items)

    def wait_for_any(self, other: ReadyQueue, timeout_s: float) -> None:
        """Wait up to `timeout_s` until this or another queue, of the same condition, holds something."""
        with self._changed:
            if not self._closed:
                self._changed.wait_for(lambda: self._items or other._items or self._closed, timeout_s)

    def more(self, than: int, timeout_s: float) -> None:
        """Wait up to `timeout_s` until more than so many items are held."""
        with self._changed:
            if not self._closed:
                self._changed.wait_for(lambda: len(self._items) > than or self._closed, timeout_s)

    def take(self, count: int) -> None:
        """Take out the first `count` items: a front that was seen, or its `first` part."""
        with self._changed:
            for _ in range(min(count, len(self._items))):
                self._rows -= _rows(self._items.popleft())
            self._changed.notify_all()

    def close(self) -> None:
        """Hold and take nothing any more: what was not taken out belongs to the next owner of its partition."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._rows = 0
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def __len__(self) -> int:
        return len(self._items)

    def _front(self, most_rows: int, most_items: int) -> Front:
        front = Front()
        answers, batch, rows, key = front.answers, front.batch, 0, None
        for item in self._items:
            if len(answers) + len(batch) >= most_items:
                break
            if isinstance(item, Answer):
                answers.append(item)
                continue
            if batch and (item.key != key or rows + item.rows > most_rows):
                break
            front.answers_before.append(len(answers))
            batch.append(item)
            rows, key = rows + item.rows, item.key
            if rows >= most_rows:
                break
        return front


def _rows(item: Answer | Pending) -> int:
    """Rows on the device, at least 1: what needs none is delivered all the same."""
    return 1 if isinstance(item, Answer) else item.rows
