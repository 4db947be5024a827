"""Column vectors: how values look inside the engine, and how an expression is computed on them.

A vector is a numpy array. Numbers and flags are float64 with NaN for NULL (integers are exact to
2**53), times are int64 microseconds with `NEVER` for NULL, text is an object array with None for
NULL. One request is a vector of length 1: there is no second code path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mainspring.clock import NEVER, SECOND, as_datetime, parse_time
from mainspring.errors import FunctionFailed, UnfitResult
from mainspring.expressions import KINDS, Expr, Kind, kind_of, source_digest

Vector = np.ndarray[Any, np.dtype[Any]]
Vectors = Mapping[str, Vector]

_NOTHING = np.array(None)
_HOUR, _DAY = 3_600_000_000, 86_400_000_000
_EARTH_KM = 6371.0088  # the mean radius of WGS 84 and GRS 80

ARROW_KINDS: dict[Kind, pa.DataType] = {
    "number": pa.float64(),
    "flag": pa.bool_(),
    "text": pa.string(),
    "time": pa.timestamp("us", "UTC"),
}
"""The Arrow type of each kind of vector."""

ARROW_TYPES: dict[type, pa.DataType] = {t: ARROW_KINDS[k] for t, k in KINDS.items()} | {
    int: pa.int64()
}
"""The Arrow type of each Python type that a column may have."""


def from_arrow(column: pa.ChunkedArray | pa.Array, kind: Kind) -> Vector:
    """The vector of an Arrow column."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if kind == "text":
        return cast(Vector, column.to_numpy(zero_copy_only=False).astype(object))
    if kind == "time":
        whole = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        return cast(Vector, whole.fill_null(NEVER).to_numpy(zero_copy_only=False).astype(np.int64))
    numbers = (
        column.cast(pa.float64())
        if not pa.types.is_boolean(column.type)
        else column.cast(pa.int8()).cast(pa.float64())
    )
    return cast(Vector, numbers.to_numpy(zero_copy_only=False).astype(np.float64))


def to_arrow(vector: Vector, kind: Kind) -> pa.Array:
    """The Arrow column of a vector; NaN becomes NULL."""
    if kind == "text":
        return pa.array(vector, pa.string())
    if kind == "time":
        return pa.array(vector, pa.int64(), mask=vector == NEVER).cast(pa.timestamp("us", "UTC"))
    missing = np.isnan(vector)
    if kind == "flag":
        return pa.array(np.where(missing, 0.0, vector) != 0.0, pa.bool_(), mask=missing)
    return pa.array(vector, pa.float64(), mask=missing)


def from_values(values: Sequence[Any], kind: Kind) -> Vector:
    """The vector of Python values: what a request brings."""
    if kind == "text":
        text = np.empty(len(values), object)
        text[:] = values
        return text
    if kind == "time":
        return np.array([NEVER if v is None else v for v in values], np.int64)
    return np.array([np.nan if v is None else v for v in values], np.float64) + 0.0


def to_value(value: Any, kind: Kind) -> Any:
    """One element of a vector as a plain Python value: what an answer shows."""
    if kind == "text":
        return value
    if kind == "time":
        return None if value == NEVER else as_datetime(int(value)).isoformat()
    if value != value:
        return None
    return bool(value) if kind == "flag" else float(value)


def hash64(values: Vector) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A 64-bit hash of each value, the same in every process, version and platform.

    Text is hashed by its UTF-8 bytes, any other value by those of its float64 (-0.0 as 0.0), each
    distinct one once. What the hash of a NULL is means nothing. BLAKE2b: Aumasson et al., 2013.

    Example:
        >>> hash64(np.array(["Oslo", None, "Oslo"], object))[::2].tolist()
        [18226229313479292765, 18226229313479292765]
        >>> hash64(np.array([0.0, -0.0])).tolist()
        [1786884285633530058, 1786884285633530058]
    """
    if values.dtype == object:
        texts: list[Any] = values.tolist()
        known = {text: _hash(_utf8(text)) for text in set(texts)}
        return np.fromiter(map(known.__getitem__, texts), np.uint64, len(texts))
    distinct, place = np.unique(values.astype("<f8") + 0.0, return_inverse=True)
    raw = distinct.astype("<f8").tobytes()
    hashes = [_hash(raw[at : at + 8]) for at in range(0, len(raw), 8)]
    return np.array(hashes, np.uint64)[place.reshape(values.shape)]


def _utf8(text: Any) -> bytes:
    return str(text).encode("utf-8", "surrogatepass")


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def evaluate(expression: Expr[Any], values: Vectors, rows: int) -> Vector:
    """The vector of an expression, given the vectors of its leaves by `label`.

    Args:
        values: one vector per leaf (columns and aggregates, see `expressions.leaves`).
        rows: their length.
    """
    known = values.get(expression.label)
    if known is not None:
        return known
    arguments = [_argument(a, values, rows) for a in expression.args]
    with np.errstate(all="ignore"):
        result = OPERATIONS[expression.op](expression, *arguments)
    as_it_is = kind_of(expression) in ("text", "time") or expression.op == "item"
    return result if as_it_is else _finite(result)


def evaluate_all(
    expressions: Sequence[Expr[Any]], values: dict[str, Vector], rows: int
) -> list[Vector]:
    """The vectors of several expressions; `values` keeps each, so parts are computed once."""
    for expression in expressions:
        values[expression.label] = evaluate(expression, values, rows)
    return [values[e.label] for e in expressions]


def _argument(value: Any, values: Vectors, rows: int) -> Any:
    if isinstance(value, Expr):
        return evaluate(value, values, rows)
    return parse_time(value) if isinstance(value, datetime) else value


def _finite(vector: Any) -> Vector:
    numbers = np.asarray(vector, np.float64)
    return np.where(np.isinf(numbers), np.nan, numbers) + 0.0  # + 0.0 turns -0.0 into 0.0


def _where_known(result: Any, *operands: Any) -> Vector:
    """`result` as numbers, NULL where an operand is NULL: comparisons of NaN would say False."""
    flags = np.asarray(result, np.float64)
    for operand in operands:
        flags = np.where(_is_null(operand), np.nan, flags)
    return flags


def _is_null(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value is None or value != value
    if value.dtype == object:
        return np.equal(value, _NOTHING)
    return value == NEVER if value.dtype == np.int64 else np.isnan(value)


def _and(_: Expr[Any], a: Vector, b: Vector) -> Vector:
    return np.where((a == 0) | (b == 0), 0.0, np.where(np.isnan(a) | np.isnan(b), np.nan, 1.0))


def _or(_: Expr[Any], a: Vector, b: Vector) -> Vector:
    return np.where((a == 1) | (b == 1), 1.0, np.where(np.isnan(a) | np.isnan(b), np.nan, 0.0))


def _is_in(e: Expr[Any], a: Vector) -> Vector:
    values = [_argument(value, {}, 0) for value in e.settings["values"]]
    if a.dtype == object:  # `np.isin` would compare each text with each value
        found = map(frozenset(values).__contains__, a.tolist())
        return _where_known(np.fromiter(found, np.float64, len(a)), a)
    return _where_known(np.isin(a, np.array(values, a.dtype)), a)


def _fill_null(_: Expr[Any], a: Vector, value: Any) -> Vector:
    return np.where(_is_null(a), value, a)


def _hour(_: Expr[Any], a: Vector) -> Vector:
    return _where_known(a // _HOUR % 24, a)


def _day_of_week(_: Expr[Any], a: Vector) -> Vector:
    return _where_known((a // _DAY + 3) % 7, a)  # 1970-01-01 was a Thursday


def _log1p(_: Expr[Any], a: Vector) -> Vector:
    return np.where(a <= -1, np.nan, np.log1p(a))


def _seconds_between(_: Expr[Any], earlier: Any, later: Any) -> Vector:
    return _where_known((later - earlier) / SECOND, earlier, later)


def _hash_bucket(e: Expr[Any], a: Vector) -> Vector:
    return _where_known(hash64(a) % np.uint64(e.settings["buckets"]), a)


def _distance_km(_: Expr[Any], lat1: Any, lon1: Any, lat2: Any, lon2: Any) -> Vector:
    (y1, x1), (y2, x2) = _on_earth(lat1, lon1), _on_earth(lat2, lon2)
    half = np.sin((y2 - y1) / 2) ** 2 + np.cos(y1) * np.cos(y2) * np.sin((x2 - x1) / 2) ** 2
    angle = 2 * np.arcsin(np.sqrt(np.minimum(half, 1.0)))  # rounding may exceed 1
    return np.asarray(_EARTH_KM * angle)


def _on_earth(lat: Any, lon: Any) -> tuple[Any, Any]:
    """Degrees as radians; NaN where they are no degrees."""
    north = np.where(np.abs(lat) <= 90, lat, np.nan)
    return np.radians(north), np.radians(np.where(np.abs(lon) <= 180, lon, np.nan))


def _apply(e: Expr[Any], *arguments: Vector) -> Vector:
    wanted = e.settings["returns"].type
    try:  # on copies: what it writes into them must reach no other feature
        found = np.asarray(e.settings["function"](*(a.copy() for a in arguments)))
    except Exception as error:
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        raise FunctionFailed(function=_name(e), message=message[:200], at=e.at) from error
    problem = _misfit(found, wanted, arguments[0].shape)
    if problem:
        raise UnfitResult(function=_name(e), problem=problem, wanted=wanted.__name__, at=e.at)
    return found.astype(object) if wanted is str else found.astype(np.float64)


def _name(e: Expr[Any]) -> str:
    return source_digest(e.settings["function"]).partition("@")[0]


def _misfit(found: Vector, wanted: type[Any], shape: tuple[int, ...]) -> str:
    """Why an array is no vector of a type and length; nothing if it is one."""
    if found.shape != shape:
        return f"an array of shape {found.shape} for {shape[0]} rows"
    if wanted is str:
        return _no_text(found)
    if found.dtype.kind not in "fiub":
        return f"an array of {found.dtype}"
    if wanted is float or found.dtype.kind == "b":
        return ""
    fits = (found == 0) | (found == 1) if wanted is bool else np.floor(found) == found
    return _first_of(found, ~(fits | np.isnan(found)))


def _no_text(found: Vector) -> str:
    if found.dtype.kind == "U":
        return ""
    if found.dtype != object:
        return f"an array of {found.dtype}"
    strange = (value is not None and not isinstance(value, str) for value in found.tolist())
    return _first_of(found, np.fromiter(strange, bool, len(found)))


def _first_of(found: Vector, strange: Vector) -> str:
    """The first strange value, if there is one."""
    return f"{found[strange].tolist()[0]!r:.60}" if strange.any() else ""


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda _, a, b: a + b,
    "sub": lambda _, a, b: a - b,
    "mul": lambda _, a, b: a * b,
    "div": lambda _, a, b: np.where(np.equal(b, 0), np.nan, np.divide(a, b)),
    "neg": lambda _, a: -a,
    "gt": lambda _, a, b: _where_known(a > b, a, b),
    "ge": lambda _, a, b: _where_known(a >= b, a, b),
    "lt": lambda _, a, b: _where_known(a < b, a, b),
    "le": lambda _, a, b: _where_known(a <= b, a, b),
    "and": _and,
    "or": _or,
    "not": lambda _, a: 1.0 - a,
    "equals": lambda _, a, b: _where_known(np.equal(a, b), a, b),
    "is_in": _is_in,
    "is_null": lambda _, a: np.asarray(_is_null(a), np.float64),
    "fill_null": _fill_null,
    "hour": _hour,
    "day_of_week": _day_of_week,
    "log1p": _log1p,
    "abs": lambda _, a: np.abs(a),
    "clip": lambda _, a, low, high: np.clip(a, low, high),
    "seconds_between": _seconds_between,
    "hash_bucket": _hash_bucket,
    "distance_km": _distance_km,
    "apply": _apply,
    "item": lambda e, a: a[:, e.settings["index"]],
}
"""How each operation is computed; the first argument is the expression, the others its operands."""
