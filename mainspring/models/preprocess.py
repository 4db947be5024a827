"""Preprocessing inside a version: from feature columns to the matrix that an estimator reads.

Two forms. **native**, for estimators that accept gaps (LightGBM, scikit-learn's trees): one column
per input, NaN kept, categories as codes by falling training frequency. **dense**, for the others:
numbers imputed by the median and standardised, with an indicator where training had gaps;
categories one-hot, at most `ONE_HOT_AT_MOST` of them.

In both, a category needs `RARE_BELOW` training rows for a code of its own. Those below, and those
that training never saw, share the code *rare*; NULL is NaN (native) or no category (dense).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mainspring.clock import NEVER
from mainspring.errors import MissingInput
from mainspring.models.signature import Signature

Form = Literal["native", "dense"]
Columns = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]

RARE_BELOW = 20
ONE_HOT_AT_MOST = 50
_NULL_TIME = float(NEVER)
_Encode = Callable[[str | None], float]


@dataclass(frozen=True, slots=True)
class NumberScale:
    """How a number becomes dense: fill for gaps, centre, scale, and whether training had gaps.

    Example:
        >>> NumberScale.of(np.array([1.0, 3.0, np.nan]))
        NumberScale(median=2.0, mean=2.0, scale=0.816496580927726, gaps=True)
    """

    median: float
    mean: float
    scale: float
    gaps: bool

    @classmethod
    def of(cls, values: Floats) -> NumberScale:
        """The scale of one training column; a column without values is all fill."""
        missing = ~np.isfinite(values)
        known = values[~missing]
        median = float(np.median(known)) if len(known) else 0.0
        filled = np.where(missing, median, values)
        return cls(median, float(filled.mean()), float(filled.std()) or 1.0, bool(missing.any()))


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """A fitted map from named columns to a float64 matrix, the same for one row and for many.

    `levels` holds the categories with a code of their own; `scales` is empty in the native form.

    Example:
        >>> from mainspring.models.signature import Input
        >>> signature = Signature((Input("x", "number"), Input("c", "category")), "number")
        >>> columns = {"x": np.arange(40.0), "c": np.array(["a"] * 39 + ["b"], dtype=object)}
        >>> fitted = Preprocessing.fit(columns, signature, "native")
        >>> fitted.transform({"x": np.array([7.0]), "c": np.array(["never seen"], dtype=object)})
        array([[7., 1.]])
    """

    form: Form
    signature: Signature
    levels: Mapping[str, tuple[str, ...]]
    scales: Mapping[str, NumberScale]
    _codes: tuple[tuple[int, _Encode], ...] = field(init=False, repr=False, compare=False)
    _dense: _Dense | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        codes = tuple(
            (i, _encoder(self.levels[name]))
            for i, name in enumerate(self.signature.names)
            if name in self.levels
        )
        object.__setattr__(self, "_codes", codes)
        dense = _Dense.of(self) if self.form == "dense" else None
        object.__setattr__(self, "_dense", dense)

    @classmethod
    def fit(cls, columns: Columns, signature: Signature, form: Form) -> Preprocessing:
        """The preprocessing that training columns ask for.

        Raises: MissingInput when the columns lack an input of the signature.
        """
        most = ONE_HOT_AT_MOST if form == "dense" else None
        levels: dict[str, tuple[str, ...]] = {}
        scales: dict[str, NumberScale] = {}
        for column in signature.inputs:
            values = _column(columns, column.name)
            if column.kind == "category":
                levels[column.name] = _levels(values, most)
            elif form == "dense":
                scales[column.name] = NumberScale.of(_numbers(values))
        return cls(form, signature, levels, scales)

    @property
    def sources(self) -> tuple[int, ...]:
        """For each column of the matrix, the position of its input in the signature."""
        return self._dense.sources if self._dense else tuple(range(len(self.signature.inputs)))

    def transform(self, columns: Columns) -> Floats:
        """The matrix of these rows: inputs in order, or numbers, gaps and categories (dense).

        Raises: MissingInput when the columns lack an input of the signature.
        """
        try:
            values = [columns[name] for name in self.signature.names]
        except KeyError as missing:
            raise _missing(str(missing.args[0]), columns) from None
        one = bool(values) and len(values[0]) == 1
        matrix = self._one_row(values) if one else self._many_rows(values)
        return self._dense(matrix) if self._dense else matrix

    def to_json(self) -> dict[str, Any]:
        """A JSON-able form that `from_json` reads back, equal to the last bit."""
        return {
            "form": self.form,
            "signature": self.signature.to_json(),
            "levels": {name: list(levels) for name, levels in self.levels.items()},
            "scales": {n: [s.median, s.mean, s.scale, s.gaps] for n, s in self.scales.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing that `to_json` described."""
        levels = {name: tuple(values) for name, values in data["levels"].items()}
        scales = {name: NumberScale(*values) for name, values in data["scales"].items()}
        return cls(data["form"], Signature.from_json(data["signature"]), levels, scales)

    # A request is one row: Python floats are several times faster than 40 assignments of slices.
    def _one_row(self, columns: list[NDArray[Any]]) -> Floats:
        values = [column.item() for column in columns]
        for i, encode in self._codes:
            values[i] = encode(values[i])
        return _without_null_time(np.array([values], dtype=np.float64))

    def _many_rows(self, columns: list[NDArray[Any]]) -> Floats:
        rows = len(columns[0]) if columns else 0
        matrix = np.empty((rows, len(columns)))
        codes = dict(self._codes)
        for i, column in enumerate(columns):
            encode = codes.get(i)
            matrix[:, i] = (
                column if encode is None else np.fromiter(map(encode, column), float, rows)
            )
        return _without_null_time(matrix)


@dataclass(frozen=True, slots=True)
class _Dense:
    """The second half of the dense form, from the native matrix."""

    numbers: NDArray[np.intp]
    median: Floats
    mean: Floats
    scale: Floats
    gaps: NDArray[np.intp]
    categories: tuple[tuple[int, int, int], ...]  # input, first output column, width
    sources: tuple[int, ...]

    @classmethod
    def of(cls, fitted: Preprocessing) -> _Dense:
        names = fitted.signature.names
        numbers = [i for i, name in enumerate(names) if name in fitted.scales]
        scales = [fitted.scales[names[i]] for i in numbers]
        gaps = [position for position, scale in enumerate(scales) if scale.gaps]
        sources = numbers + [numbers[position] for position in gaps]
        categories = []
        for i, name in enumerate(names):
            if name in fitted.levels:
                width = len(fitted.levels[name]) + 1
                categories.append((i, len(sources), width))
                sources += [i] * width
        return cls(
            np.array(numbers, np.intp),
            np.array([s.median for s in scales]),
            np.array([s.mean for s in scales]),
            np.array([s.scale for s in scales]),
            np.array(gaps, np.intp),
            tuple(categories),
            tuple(sources),
        )

    def __call__(self, native: Floats) -> Floats:
        out = np.zeros((len(native), len(self.sources)))
        numbers = native[:, self.numbers]
        missing = ~np.isfinite(numbers)
        width = len(self.numbers)
        out[:, :width] = (np.where(missing, self.median, numbers) - self.mean) / self.scale
        out[:, width : width + len(self.gaps)] = missing[:, self.gaps]
        for i, start, _ in self.categories:
            known = np.flatnonzero(~np.isnan(native[:, i]))
            out[known, start + native[known, i].astype(np.intp)] = 1.0
        return out


def form_for(estimator: Any) -> Form:
    """The form that an estimator reads: native when it says that it accepts NaN, else dense.

    Example:
        >>> from sklearn.linear_model import LinearRegression
        >>> form_for(LinearRegression())
        'dense'
    """
    from sklearn.utils import get_tags

    if not hasattr(estimator, "__sklearn_tags__"):
        return "dense"
    return "native" if get_tags(estimator).input_tags.allow_nan else "dense"


def _levels(values: NDArray[Any], at_most: int | None) -> tuple[str, ...]:
    counts = Counter(values.tolist())
    del counts[None]
    common = [level for level, rows in counts.items() if rows >= RARE_BELOW]
    return tuple(sorted(common, key=lambda level: (-counts[level], level))[:at_most])


def _encoder(levels: tuple[str, ...]) -> _Encode:
    codes: dict[str | None, float] = {level: float(i) for i, level in enumerate(levels)}
    codes[None] = np.nan
    get, rare = codes.get, float(len(levels))
    return lambda value: get(value, rare)


def _column(columns: Columns, name: str) -> NDArray[Any]:
    if name not in columns:
        raise _missing(name, columns)
    return columns[name]


def _missing(name: str, columns: Columns) -> MissingInput:
    return MissingInput(name=name, given=", ".join(sorted(columns)) or "nothing")


def _numbers(values: NDArray[Any]) -> Floats:
    return _without_null_time(values.astype(np.float64))


def _without_null_time(values: Floats) -> Floats:
    values[values == _NULL_TIME] = np.nan
    return values
