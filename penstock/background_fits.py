"""Fits of the forecast beside the ticks: begun when asked for, there when due."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from autoscaler.forecasting.fitting import fit

if TYPE_CHECKING:
    from autoscaler.forecasting.fitting import FitRequest
    from autoscaler.forecasting.linear import Linear

#: Fits remembered: two are under way at most; others were asked for by a state that was given up.
_REMEMBERED = 8


class BackgroundFitter:
    """A `Fitter` with one thread of its own. The results are those of `fit`, so that a replay gives the same.

    Used by one thread at a time. Close it when done.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forecast-fit")
        self._under_way: OrderedDict[int, tuple[FitRequest, Future[Linear | None]]] = OrderedDict()

    def submit(self, request: FitRequest) -> None:
        """Begin a fit; returns at once."""
        # The request is kept too, so that its identity is not given to another one.
        self._under_way[id(request)] = (request, self._thread.submit(fit, request))
        while len(self._under_way) > _REMEMBERED:
            _, (_, given_up) = self._under_way.popitem(last=False)
            given_up.cancel()

    def result(self, request: FitRequest) -> Linear | None:
        """The fit; waits where it is not done yet, and does it now where it was never begun here."""
        begun = self._under_way.pop(id(request), None)
        return fit(request) if begun is None else begun[1].result()

    def close(self) -> None:
        """Drop what has not begun and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)
