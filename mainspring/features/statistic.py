"""What aggregates are made of: statistics over ranges of rows, and the formulas that finish them.

Sums and deviations are merged from runs of 1, 2, 4, … rows, never by subtracting prefixes: a value
depends on the rows of its own range and on nothing else. A huge neighbour costs no digits, an
infinity stays in its window, and the same rows give the same bits however a part is cut. The window
kernel reads statistics over rows, and the online tiles over what they keep of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[Any]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
State: TypeAlias = tuple[NDArray[Any], ...]
Merge: TypeAlias = Callable[[State, State], State]
Read: TypeAlias = Callable[[State, Ints, Ints], State]


class Rows(NamedTuple):
    """Rows in order: their values, which of them are not NULL, their numbers and event times."""

    values: Values
    valid: Flags
    numbers: Ints
    event: Ints


Prepare: TypeAlias = Callable[[Rows], State]


@dataclass(frozen=True, slots=True)
class Statistic:
    """A mergeable statistic: prepared per row, read per range of rows, merged in any order.

    `read` takes what `prepare` gave, and the first and the last but one row of every range. One
    that answers with numbers of rows `keeps` so many of them; the state of any other is `neutral`
    for no rows.

    Example:
        >>> total, two = statistic("sum"), np.array([True, True, False])
        >>> rows = Rows(np.array([1.0, 2.0, 4.0]), two, np.arange(3), np.arange(3))
        >>> total.read(total.prepare(rows), np.array([0, 1, 1]), np.array([3, 2, 1]))
        (array([3., 2., 0.]),)
    """

    prepare: Prepare
    read: Read
    merge: Merge
    neutral: tuple[float, ...] = ()
    keeps: int = 0


def _runs(state: State, merge: Merge, longest: int) -> Iterator[tuple[int, State]]:
    """For run = 1, 2, 4, … up to `longest`, the merged state of the `run` rows from each row on."""
    run = 1
    while run <= longest:
        yield run, state
        if 2 * run <= longest:
            state = merge(tuple(a[:-run] for a in state), tuple(a[run:] for a in state))
        run *= 2


def _fold(merge: Merge, neutral: Sequence[float]) -> Read:
    def read(state: State, lo: Ints, hi: Ints) -> State:
        length, at = hi - lo, lo.copy()
        found = tuple(np.full(len(lo), value) for value in neutral)
        for run, merged in _runs(state, merge, int(length.max(initial=0))):
            take = np.flatnonzero(length & run)
            rows = at[take]
            grown = merge(tuple(a[take] for a in found), tuple(a[rows] for a in merged))
            for array, part in zip(found, grown, strict=True):
                array[take] = part
            at[take] = rows + run
        return found

    return read


def _cover(merge: Merge, neutral: float) -> Read:
    """Like `_fold` where rows may count twice: two runs that overlap cover any range."""

    def read(state: State, lo: Ints, hi: Ints) -> State:
        length = hi - lo
        found = np.full(len(lo), neutral)
        for run, merged in _runs(state, merge, int(length.max(initial=0))):
            take = np.flatnonzero((length >= run) & (length < 2 * run))
            left, right = lo[take], hi[take] - run
            found[take] = merge((merged[0][left],), (merged[0][right],))[0]
        return (found,)

    return read


def _add(a: State, b: State) -> State:
    return (a[0] + b[0],)


def _lower(a: State, b: State) -> State:
    return (np.minimum(a[0], b[0]),)


def _higher(a: State, b: State) -> State:
    return (np.maximum(a[0], b[0]),)


def _pool(a: State, b: State) -> State:
    """Counts, means and squared deviations of two runs as those of one (Chan et al., 1979)."""
    (n_a, mean_a, square_a), (n_b, mean_b, square_b) = a, b
    n, apart = n_a + n_b, mean_b - mean_a
    weight = n_b / np.maximum(n, 1)
    return n, mean_a + apart * weight, square_a + square_b + apart * (n_a * weight) * apart


def _count(state: State, lo: Ints, hi: Ints) -> State:
    running = np.concatenate(([0.0], np.cumsum(state[0], dtype=np.float64)))
    return (running[hi] - running[lo],)


def _first(state: State, lo: Ints, hi: Ints) -> State:
    rows = np.append(state[0], _NEVER)
    places = np.where(rows == _NEVER, len(rows), np.arange(len(rows)))
    place = np.minimum.accumulate(places[::-1])[::-1][lo]
    return (np.where(place < hi, rows[np.minimum(place, hi)], _NEVER),)


def _last(state: State, lo: Ints, hi: Ints) -> State:
    rows = np.append(-1, state[0])
    places = np.where(rows < 0, 0, np.arange(len(rows)))
    place = np.maximum.accumulate(places)[hi]
    return (np.where(place > lo, rows[place], -1),)


def _filled(neutral: float) -> Prepare:
    # Adding 0.0 turns -0.0 into 0.0, so that which of them is the minimum is not a matter of luck.
    return lambda rows: (np.where(rows.valid, rows.values, neutral) + 0.0,)


def _numbered(missing: int) -> Prepare:
    return lambda rows: (np.where(rows.valid, rows.numbers, missing),)


def _moments(rows: Rows) -> State:
    n = rows.valid.astype(np.float64)
    return n, np.where(rows.valid, rows.values, 0.0), np.zeros(len(n))


_NEVER = np.iinfo(np.int64).max  # the row of no first value: above every row, as -1 is below
_NO_MOMENTS = (0.0, 0.0, 0.0)
_NO_DECAYED = (0.0, 0.0, -np.inf)

_STATISTICS = {
    "count": Statistic(lambda rows: (rows.valid.astype(np.float64),), _count, _add, (0.0,)),
    "sum": Statistic(_filled(0.0), _fold(_add, [0.0]), _add, (0.0,)),
    "lowest": Statistic(_filled(np.inf), _cover(_lower, np.inf), _lower, (np.inf,)),
    "highest": Statistic(_filled(-np.inf), _cover(_higher, -np.inf), _higher, (-np.inf,)),
    "moments": Statistic(_moments, _fold(_pool, _NO_MOMENTS), _pool, _NO_MOMENTS),
    "first": Statistic(_numbered(_NEVER), _first, _lower, keeps=1),
    "last": Statistic(_numbered(-1), _last, _higher, keeps=1),
    "latest": Statistic(lambda rows: (rows.numbers,), _last, _higher, keeps=1),
}


@cache
def statistic(name: str, parameter: float | None = None) -> Statistic:
    """The statistic of a name; `last_k` has the parameter k, `decayed` the half-life in us."""
    if name == "last_k":
        return _last_k(int(parameter or 1))
    if name == "decayed":
        return _decayed(float(parameter or 1))
    return _STATISTICS[name]


def _last_k(k: int) -> Statistic:
    """The numbers of the last k rows, the latest first, -1 where there are fewer."""

    def read(state: State, lo: Ints, hi: Ints) -> State:
        known = np.flatnonzero(state[0] >= 0)
        before = np.append(0, np.cumsum(state[0] >= 0))
        place = before[hi][:, None] - 1 - np.arange(k)
        rows = np.append(state[0][known], -1)  # place -1 is the end: no row
        return (np.where(place >= before[lo][:, None], rows[np.maximum(place, -1)], -1),)

    def merge(a: State, b: State) -> State:
        both = np.concatenate([a[0], b[0]], axis=1)
        return (np.sort(both, axis=1)[:, ::-1][:, :k],)

    return Statistic(_numbered(-1), read, merge, keeps=k)


def _decayed(half_life: float) -> Statistic:
    """The weight and the weighted sum of rows, as of the event time of the latest."""

    def prepare(rows: Rows) -> State:
        since = np.where(rows.valid, rows.event, -np.inf)
        return rows.valid.astype(np.float64), np.where(rows.valid, rows.values, 0.0), since

    def merge(a: State, b: State) -> State:
        (weight_a, sum_a, at_a), (weight_b, sum_b, at_b) = a, b
        at = np.maximum(at_a, at_b)
        left, right = _faded(at_a, at), _faded(at_b, at)
        return weight_a * left + weight_b * right, sum_a * left + sum_b * right, at

    def _faded(then: Values, now: Values) -> Values:
        return np.where(then == now, 1.0, np.exp2((then - now) / half_life))

    return Statistic(prepare, _fold(merge, _NO_DECAYED), merge, _NO_DECAYED)


@dataclass(frozen=True, slots=True)
class Formula:
    """How a kind of aggregate comes from the statistics that it is made `of`.

    `finish` takes the values, then the arrays of those statistics, and answers once per request.

    Example:
        >>> FORMULAS["mean"].of
        ('count', 'sum')
    """

    of: tuple[str, ...]
    finish: Callable[..., Values]


def _present(values: Values, n: Values, found: Values) -> Values:
    return np.where(n > 0, found, np.nan)


def _deviation(values: Values, n: Values, mean: Values, square: Values) -> Values:
    return np.where(n > 1, np.sqrt(square / (n - 1)), np.nan)


def pick(values: Values, row: Ints) -> Values:
    """The values at rows, NULL where there is no such row; one column for each of `row`.

    Example:
        >>> pick(np.array([1.0, 2.0]), np.array([1, -1]))
        array([ 2., nan])
    """
    missing = {"O": None, "f": np.nan}.get(values.dtype.kind, 0)
    found = (row >= 0) & (row < len(values))
    picked = np.full(row.shape, missing, dtype=values.dtype)
    picked[found] = values[row[found]]
    return picked + 0.0 if values.dtype.kind == "f" else picked


FORMULAS = {
    "count": Formula(("count",), lambda values, n: n),
    "sum": Formula(("count", "sum"), _present),
    "mean": Formula(("count", "sum"), lambda values, n, total: total / n),
    "min": Formula(("count", "lowest"), _present),
    "max": Formula(("count", "highest"), _present),
    "std": Formula(("moments",), _deviation),
    "ewma": Formula(("decayed",), lambda values, weight, total, at: total / weight),
    "time_since_last": Formula(("count", "highest"), _present),
    "first": Formula(("first",), pick),
    "last": Formula(("last",), pick),
    "latest": Formula(("latest",), pick),
    "last_k": Formula(("last_k",), pick),
}
"""The kinds that are finished from statistics. `time_since_last` is of the rows' event times, and
`since` makes of it what a request sees."""


def since(last: Values, at: Ints | int) -> Values:
    """Seconds from the latest event, in microseconds, to a request.

    Example:
        >>> since(np.array([1_000_000.0, np.nan]), np.array([3_500_000, 9]))
        array([2.5, nan])
    """
    return (at - last) / 1e6
