"""What aggregates are made of: statistics over ranges of rows, and the formulas that finish them.

Sums and deviations are merged from runs of 1, 2, 4, … rows, never by subtracting prefixes: a value
depends on the rows of its own range and on nothing else. A huge neighbour costs no digits, an
infinity stays in its window, and the same rows give the same bits however a part is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[Any]
Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
State: TypeAlias = tuple[NDArray[Any], ...]
Merge: TypeAlias = Callable[[State, State], State]
Read: TypeAlias = Callable[[State, Ints, Ints], State]
Prepare: TypeAlias = Callable[[Values, Flags, Ints], State]


@dataclass(frozen=True, slots=True)
class Statistic:
    """A mergeable statistic: prepared per row, read per range of rows, merged in any order.

    `prepare` takes the values, which of them are not NULL, and their row numbers; `read` takes what
    that gave, and the first and the last but one row of every range.

    Example:
        >>> total, valid = STATISTICS["sum"], np.array([True, True, False])
        >>> state = total.prepare(np.array([1.0, 2.0, 4.0]), valid, np.arange(3))
        >>> total.read(state, np.array([0, 1, 1]), np.array([3, 2, 1]))
        (array([3., 2., 0.]),)
    """

    prepare: Prepare
    read: Read
    merge: Merge


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
    running = np.concatenate(([0], np.cumsum(state[0])))
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
    return lambda values, valid, rows: (np.where(valid, values, neutral) + 0.0,)


def _numbered(missing: int) -> Prepare:
    return lambda values, valid, rows: (np.where(valid, rows, missing),)


def _moments(values: Values, valid: Flags, rows: Ints) -> State:
    return valid.astype(np.float64), np.where(valid, values, 0.0), np.zeros(len(values))


_NEVER = np.iinfo(np.int64).max  # the row of no first value: above every row, as -1 is below
_NO_MOMENTS = (0.0, 0.0, 0.0)

STATISTICS = {
    "count": Statistic(lambda values, valid, rows: (valid,), _count, _add),
    "sum": Statistic(_filled(0.0), _fold(_add, [0.0]), _add),
    "lowest": Statistic(_filled(np.inf), _cover(_lower, np.inf), _lower),
    "highest": Statistic(_filled(-np.inf), _cover(_higher, -np.inf), _higher),
    "moments": Statistic(_moments, _fold(_pool, _NO_MOMENTS), _pool),
    "first": Statistic(_numbered(_NEVER), _first, _lower),
    "last": Statistic(_numbered(-1), _last, _higher),
}


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


def _present(values: Values, n: Ints, found: Values) -> Values:
    return np.where(n > 0, found, np.nan)


def _deviation(values: Values, n: Values, mean: Values, square: Values) -> Values:
    return np.where(n > 1, np.sqrt(square / (n - 1)), np.nan)


def _pick(values: Values, row: Ints) -> Values:
    found = (row >= 0) & (row < len(values))
    if values.dtype == object:
        picked = np.full(len(row), None, dtype=object)
        picked[found] = values[row[found]]
        return picked
    picked = np.full(len(row), np.nan)
    picked[found] = values[row[found]] + 0.0
    return picked


FORMULAS = {
    "count": Formula(("count",), lambda values, n: n.astype(np.float64)),
    "sum": Formula(("count", "sum"), _present),
    "mean": Formula(("count", "sum"), lambda values, n, total: total / n),
    "min": Formula(("count", "lowest"), _present),
    "max": Formula(("count", "highest"), _present),
    "std": Formula(("moments",), _deviation),
    "first": Formula(("first",), _pick),
    "last": Formula(("last",), _pick),
}
