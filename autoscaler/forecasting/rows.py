"""Rows that are only ever appended: a value from outside, an array inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Rows:
    """The newest `keep` rows of what was appended.

    `append` gives another value and leaves this one as it is. Both share one array: a row is written once, behind all
    that any value of before can see. Two values made from the same one do not meet: the second copies.
    """

    __slots__ = ("_array", "_gone", "_keep", "_stop", "_written")

    def __init__(self, keep: int, shape: tuple[int, ...] = ()) -> None:
        self._keep = keep
        self._array = np.empty((2 * keep, *shape))
        self._stop = 0
        #: Rows that came before the array's first.
        self._gone = 0
        #: Rows written in the shared array, in a list that is shared with it.
        self._written = [0]

    @classmethod
    def of(cls, keep: int, rows: NDArray[np.float64], total: int) -> Rows:
        """The value that has these rows of `total` that were ever appended.

        Raises:
            ValueError: these are more rows than are kept, or than were appended.
        """
        if not 0 <= rows.shape[0] <= min(keep, total):
            raise ValueError(f"{rows.shape[0]} rows of {total}, of which {keep} are kept")
        made = cls(keep, rows.shape[1:])
        made._array[: rows.shape[0]] = rows
        made._stop = rows.shape[0]
        made._gone = total - rows.shape[0]
        made._written = [made._stop]
        return made

    @property
    def keep(self) -> int:
        """Most rows that are kept."""
        return self._keep

    def __len__(self) -> int:
        return min(self._stop, self._keep)

    @property
    def total(self) -> int:
        """Rows ever appended."""
        return self._gone + self._stop

    @property
    def array(self) -> NDArray[np.float64]:
        """The rows, oldest first; not to be written to."""
        return self._array[max(0, self._stop - self._keep) : self._stop]

    def append(self, row: NDArray[np.float64] | float) -> Rows:
        """These rows and one more; the oldest goes when there are more than are kept."""
        after = object.__new__(Rows)
        after._keep, after._array, after._written = self._keep, self._array, self._written
        after._stop, after._gone = self._stop, self._gone
        if self._written[0] != self._stop or self._stop == self._array.shape[0]:
            kept = self.array
            after._array = np.empty_like(self._array)
            after._array[: kept.shape[0]] = kept
            after._stop = kept.shape[0]
            after._gone = self.total - after._stop
            after._written = [after._stop]
        after._array[after._stop] = row
        after._stop += 1
        after._written[0] = after._stop
        return after
