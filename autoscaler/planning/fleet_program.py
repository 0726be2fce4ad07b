"""The cheapest fleet, period by period, as an integer program.

Symbols: h = period, k = worker type, P = partitions, lambda_h = rate that the period is sized for, lambda*_k = highest
rate at which one worker of the type meets the objective (`queueing.batch.highest_rate`), n[h,k] = workers (what is
looked for), u[h,k] = workers started at the beginning of h.

A partition belongs to one worker, so a worker of type k can hold at most q[h,k] = floor(P lambda*_k / lambda_h) of them
(partitions even). A fleet meets the objective if and only if its workers can hold all partitions between them:

    minimise    sum over h, k of  price_k hours n[h,k] + start_k u[h,k]
    subject to  sum over k of  q[h,k] n[h,k] >= P        for each h
                u[h,k] >= n[h,k] - n[h-1,k]              for each h > 0 and k
                sum over k of  n[h,k] <= P,  min_k <= n[h,k] <= max_k,  n and u whole and >= 0

For one type that is ceil(P / n) lambda_h / P <= lambda*, the rule of `planning.sizing`. Covering programs of this form
are solved by branch and bound; SciPy's HiGHS proves the optimum (Q. Huangfu and J. A. J. Hall, 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Seconds after which the best fleet found so far is taken, and said not to be proven.
TIME_LIMIT_S = 60.0
#: Relative gap at which a fleet counts as proven cheapest.
GAP = 1e-6


@dataclass(frozen=True, slots=True)
class Kind:
    """A worker type as the program sees it."""

    name: str
    price_per_hour: float
    #: Highest rate at which one worker meets the objective, records a second; 0 = it never does.
    highest_per_s: float
    min_workers: int
    max_workers: int
    #: Seconds that a starting worker is paid for before it serves.
    boot_s: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """Workers by period and type."""

    names: tuple[str, ...]
    #: Shape (periods, types).
    workers: Ints
    #: Over all periods, starts included.
    cost: float
    #: Whether no cheaper fleet exists; False = the time ran out before that was proven.
    proven: bool

    def fleet(self, period: int) -> dict[str, int]:
        """Workers by type in a period."""
        return dict(zip(self.names, self.workers[period].tolist(), strict=True))


def quotas(rates_per_s: Sequence[float] | Floats, kinds: Sequence[Kind], partitions: int) -> Ints:
    """Most partitions that a worker of each type can hold in each period, (periods, types)."""
    rates = np.maximum(np.asarray(rates_per_s, dtype=np.float64), 1e-12)
    highest = np.array([kind.highest_per_s for kind in kinds])
    # A rounding must not cost a whole partition.
    held = np.floor(partitions * highest[None, :] / rates[:, None] + 1e-9)
    return np.minimum(held, partitions).astype(np.int64)


def cheapest(
    rates_per_s: Sequence[float] | Floats,
    kinds: Sequence[Kind],
    partitions: int,
    *,
    period_s: float,
    fixed: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
) -> Schedule | None:
    """The cheapest schedule; `None` = no fleet within the bounds meets the objective in every period.

    Args:
        rates_per_s: rate that each period is sized for, (periods,).
        kinds: worker types.
        partitions: of the requests topic; never more workers than that.
        period_s: length of a period.
        fixed: one fleet for all periods, instead of one for each.
        time_limit_s: of the search.
    """
    held = quotas(rates_per_s, kinds, partitions)
    periods, types = held.shape
    hours = period_s / 3600
    if fixed:
        found = _solve(held.min(axis=0, keepdims=True), kinds, partitions, hours * periods, time_limit_s)
        if found is None:
            return None
        return Schedule(found.names, np.repeat(found.workers, periods, axis=0), found.cost, found.proven)
    return _solve(held, kinds, partitions, hours, time_limit_s) if types else None


def cost_of(workers: Ints, kinds: Sequence[Kind], hours: float) -> float:
    """Price of a schedule (periods, types), the starts included; those before the first period are not."""
    prices = np.array([kind.price_per_hour for kind in kinds])
    starts = np.array([kind.price_per_hour * kind.boot_s / 3600 for kind in kinds])
    rises = np.maximum(np.diff(workers, axis=0), 0)
    return float((workers * prices).sum() * hours + (rises * starts).sum())


def _solve(held: Ints, kinds: Sequence[Kind], partitions: int, hours: float, time_limit_s: float) -> Schedule | None:
    periods, types = held.shape
    count = periods * types
    prices = np.array([kind.price_per_hour for kind in kinds])
    starts = np.array([kind.price_per_hour * kind.boot_s / 3600 for kind in kinds])
    # Variables: n[h,k] row by row, then u[h,k] for h > 0.
    price = np.concatenate((np.tile(prices * hours, periods), np.tile(starts, periods - 1)))
    covering = sparse.block_diag([row[None, :] for row in held], format="csr")
    one_each = sparse.kron(sparse.eye(periods), np.ones((1, types)), format="csr")
    later = count - types
    empty = sparse.csr_matrix((periods, later))
    rises = sparse.hstack(
        [sparse.eye(later, count) - sparse.eye(later, count, k=types), sparse.eye(later)], format="csr"
    )
    constraints = [
        LinearConstraint(sparse.hstack([covering, empty], format="csr"), lb=partitions),
        LinearConstraint(sparse.hstack([one_each, empty], format="csr"), ub=partitions),
    ]
    if later:
        # Started are at least those that there are more of.
        constraints.append(LinearConstraint(rises, lb=0))
    lower = np.concatenate((np.tile([kind.min_workers for kind in kinds], periods), np.zeros(later)))
    most = [min(kind.max_workers, partitions) for kind in kinds]
    upper = np.concatenate((np.tile(most, periods), np.full(later, partitions)))
    if (lower > upper).any():
        return None
    result = milp(
        price, integrality=np.ones(count + later), bounds=Bounds(lower, upper), constraints=constraints,
        options={"time_limit": time_limit_s, "mip_rel_gap": GAP},
    )  # fmt: skip
    if result.x is None:
        return None
    workers = np.rint(result.x[:count]).astype(np.int64).reshape(periods, types)
    names = tuple(kind.name for kind in kinds)
    return Schedule(names, workers, cost_of(workers, kinds, hours), bool(result.status == 0))
