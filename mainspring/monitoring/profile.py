"""Profiles: how often each cell of a feature occurred in each bucket of time.

The cells are fixed by the training rows, so profiles of any two stretches of time, workers or
partitions merge by adding, and some twenty numbers an hour are all that is kept of a column.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[Any]
Profile: TypeAlias = npt.NDArray[np.int64]
"""Counts, `int64[bucket, cell]`; two profiles over the same cells and buckets merge by `+`."""

NUMERIC_CELLS = 20
CATEGORIES = 30
NULL_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells a column's values are counted in, as the training rows fix them.

    Numbers and times fall between `edges`, each cell closed on the right; text falls into its
    category or into "other". The last cell is always NULL.

    Example:
        >>> cells = Cells.fit(np.array(["a", "b", "a", None], dtype=object))
        >>> cells.labels
        ('a', 'b', 'other', 'NULL')
        >>> cells.count(np.array(["a", "z", None], dtype=object))
        array([1, 0, 1, 1])
    """

    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] | None = None

    @classmethod
    def fit(cls, values: Vector) -> Self:
        """The cells of a reference column: its quantiles, or its most frequent categories.

        Example:
            >>> Cells.fit(np.array([7.0, 7.0, 7.0])).labels
            ('<= 6.999999999999999', '= 7', '> 7', 'NULL')
        """
        if values.dtype == object:
            return cls(categories=_frequent(values))
        return cls(edges=_quantile_edges(_numbers(values)))

    @property
    def size(self) -> int:
        """The number of cells, with "other" and NULL.

        Example:
            >>> Cells(edges=(0.0, 1.0)).size
            4
        """
        return 2 + len(self.edges if self.categories is None else self.categories)

    @property
    def labels(self) -> tuple[str, ...]:
        """What each cell holds, for a person.

        Example:
            >>> Cells(edges=(0.0, 1.5)).labels
            ('<= 0', '(0, 1.5]', '> 1.5', 'NULL')
        """
        if self.categories is not None:
            return (*self.categories, "other", "NULL")
        return (*_interval_labels(self.edges), "NULL")

    def locate(self, values: Vector) -> npt.NDArray[np.int64]:
        """The cell of each value.

        Example:
            >>> Cells(edges=(0.0, 1.0)).locate(np.array([-5.0, 0.0, 0.5, 9.0, np.nan]))
            array([0, 0, 1, 2, 3])
        """
        if self.categories is not None:
            return _locate_text(self.categories, values)
        numbers = _numbers(values)
        cells = np.searchsorted(np.array(self.edges), numbers, side="left").astype(np.int64)
        cells[np.isnan(numbers)] = self.size - 1
        return cells

    def count(self, values: Vector) -> npt.NDArray[np.int64]:
        """How many of the values each cell holds.

        Example:
            >>> Cells(edges=(0.0, 1.0)).count(np.array([0.0, 0.5, 0.7, np.nan]))
            array([1, 2, 0, 1])
        """
        return np.bincount(self.locate(values), minlength=self.size).astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        """The cells as JSON; `from_json` gives equal cells back, edges to the bit.

        Example:
            >>> Cells(edges=(0.5,)).to_json()
            {'edges': [0.5], 'categories': None}
        """
        names = self.categories
        return {"edges": list(self.edges), "categories": None if names is None else list(names)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The cells that `to_json` wrote.

        Example:
            >>> Cells.from_json({"edges": [0.5], "categories": None})
            Cells(edges=(0.5,), categories=None)
        """
        names = stored["categories"]
        return cls(tuple(map(float, stored["edges"])), None if names is None else tuple(names))


def profile(
    values: Vector,
    at_us: npt.NDArray[np.int64],
    cells: Cells,
    bucket_us: int,
    first_bucket: int,
    n_buckets: int,
) -> Profile:
    """The counts of a column per bucket of time and cell, in one pass.

    Bucket b covers `[b * bucket_us, (b + 1) * bucket_us)`; rows outside the asked buckets, and rows
    without a time, are left out.

    Example:
        >>> at = np.array([0, 30, 60])
        >>> profile(np.array([0.0, 2.0, np.nan]), at, Cells(edges=(1.0,)), 60, 0, 2)
        array([[1, 1, 0],
               [0, 0, 1]])
    """
    buckets = at_us // bucket_us
    inside = (buckets >= first_bucket) & (buckets < first_bucket + n_buckets)
    flat = (buckets[inside] - first_bucket) * cells.size + cells.locate(values[inside])
    counts = np.bincount(flat, minlength=n_buckets * cells.size)
    return counts.astype(np.int64).reshape(n_buckets, cells.size)


def _numbers(values: Vector) -> npt.NDArray[np.float64]:
    numbers = values.astype(np.float64)
    if values.dtype == np.int64:
        numbers[values == NULL_TIME] = np.nan
    return numbers


def _quantile_edges(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Edges at observed quantiles; a value that fills a whole cell gets a cell of its own.

    Such a value repeats among the quantiles, so its second edge takes the place of the repetition
    and the number of cells stays within bounds. A constant column becomes less, equal, more.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return ()
    steps = np.arange(1, NUMERIC_CELLS) / NUMERIC_CELLS
    edges, times = np.unique(np.quantile(known, steps, method="inverted_cdf"), return_counts=True)
    alone = edges[(times > 1) & (edges > np.finfo(np.float64).min)]
    return tuple(np.union1d(edges, np.nextafter(alone, -np.inf)).tolist())


def _interval_labels(edges: tuple[float, ...]) -> tuple[str, ...]:
    if not edges:
        return ("any",)
    inner = tuple(
        f"= {high:g}" if np.nextafter(high, -np.inf) == low else f"({low:g}, {high:g}]"
        for low, high in pairwise(edges)
    )
    return (f"<= {edges[0]:.16g}", *inner, f"> {edges[-1]:g}")


def _frequent(values: Vector) -> tuple[str, ...]:
    seen = Counter(v for v in values.tolist() if v is not None)
    ranked = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
    return tuple(name for name, _ in ranked[:CATEGORIES])


def _locate_text(categories: tuple[str, ...], values: Vector) -> npt.NDArray[np.int64]:
    other = len(categories)
    where: dict[str | None, int] = {name: i for i, name in enumerate(categories)}
    where[None] = other + 1
    found = (where.get(v, other) for v in values.tolist())
    return np.fromiter(found, dtype=np.int64, count=len(values))
