"""Expressions over columns and features: nodes that say what a value is, never how it is computed.

The same node is evaluated by `vectors.evaluate` on one request and on a million training rows, so a
value has one definition. NULL is contagious: an operation on NULL gives NULL, and so does a
division by zero; `fill_null` ends it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from datetime import datetime
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Generic, Literal, NoReturn, TypeVar, overload

from mainspring.clock import as_datetime, parse_time
from mainspring.errors import AmbiguousTruth, InvalidDeclaration, declared_at

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
R = TypeVar("R", bool, int, float, str)
Filled = TypeVar("Filled", bool, str, datetime)

Number = float | None
"""What arithmetic takes: numbers, or columns of numbers that may be NULL."""

Text = str | None
Time = datetime | None


class Expr(Generic[T_co]):
    """One value of a row: an operation on other values.

    Operators build new expressions; nothing is computed here. `==` is not overloaded (write
    `.equals(...)`), and an expression has no truth value.

    Raises:
        InvalidDeclaration: an operand of a kind that the operation does not take.
        AmbiguousTruth: the expression was used with `and`, `or`, `not` or `if`.

    Example:
        >>> from mainspring import Column, Source, event_time
        >>> class Payment(Source, url="payments.parquet"):
        ...     amount: Column[float]
        ...     fee: Column[float]
        ...     paid_at: Column[datetime] = event_time()
        >>> Payment.amount - Payment.fee
        Payment.amount - Payment.fee
        >>> (Payment.amount > 100) & Payment.fee.is_null()
        (Payment.amount > 100) & is_null(Payment.fee)
    """

    def __init__(self, op: str, args: tuple[Any, ...] = (), **settings: Any) -> None:
        self.op = op
        self.args = args
        self.settings: Mapping[str, Any] = MappingProxyType(settings)
        self.at = declared_at()
        for argument in (*args, *settings.get("values", ())):
            self._refuse(argument, op)
        if settings.get("where") is not None:
            self._refuse(settings["where"], "where")

    def _refuse(self, operand: Any, op: str) -> None:
        """Raise where `op` takes no operand of this kind: for those who run no type checker."""
        if isinstance(operand, Wide) and op != "item":
            raise InvalidDeclaration(
                subject_name=repr(self),
                problem=f"{operand!r} is {len(operand)} values",
                at=self.at,
                remedy=f"use one of them: {operand!r}[0]",
            )
        wanted, found = _taken(op, self.args), _kind_of_operand(operand)
        if wanted and found != wanted and (found, wanted) != ("flag", "number"):
            raise InvalidDeclaration(
                subject_name=repr(self),
                problem=f"{_shown(operand)} is a {found}, {INFIX.get(op, op)} takes a {wanted}",
                at=self.at,
                remedy=f"use {INSTEAD[wanted]}",
            )

    def __add__(self: Expr[Number], other: Expr[Number] | float) -> Feature[float]:
        return Feature("add", (self, other))

    def __radd__(self: Expr[Number], other: float) -> Feature[float]:
        return Feature("add", (other, self))

    def __sub__(self: Expr[Number], other: Expr[Number] | float) -> Feature[float]:
        return Feature("sub", (self, other))

    def __rsub__(self: Expr[Number], other: float) -> Feature[float]:
        return Feature("sub", (other, self))

    def __mul__(self: Expr[Number], other: Expr[Number] | float) -> Feature[float]:
        return Feature("mul", (self, other))

    def __rmul__(self: Expr[Number], other: float) -> Feature[float]:
        return Feature("mul", (other, self))

    def __truediv__(self: Expr[Number], other: Expr[Number] | float) -> Feature[float]:
        return Feature("div", (self, other))

    def __rtruediv__(self: Expr[Number], other: float) -> Feature[float]:
        return Feature("div", (other, self))

    def __neg__(self: Expr[Number]) -> Feature[float]:
        return Feature("neg", (self,))

    @overload
    def __gt__(self: Expr[Number], other: Expr[Number] | float) -> Feature[bool]: ...
    @overload
    def __gt__(self: Expr[Time], other: Expr[Time] | datetime) -> Feature[bool]: ...
    def __gt__(self, other: Any) -> Feature[bool]:
        return Feature("gt", (self, other))

    @overload
    def __ge__(self: Expr[Number], other: Expr[Number] | float) -> Feature[bool]: ...
    @overload
    def __ge__(self: Expr[Time], other: Expr[Time] | datetime) -> Feature[bool]: ...
    def __ge__(self, other: Any) -> Feature[bool]:
        return Feature("ge", (self, other))

    @overload
    def __lt__(self: Expr[Number], other: Expr[Number] | float) -> Feature[bool]: ...
    @overload
    def __lt__(self: Expr[Time], other: Expr[Time] | datetime) -> Feature[bool]: ...
    def __lt__(self, other: Any) -> Feature[bool]:
        return Feature("lt", (self, other))

    @overload
    def __le__(self: Expr[Number], other: Expr[Number] | float) -> Feature[bool]: ...
    @overload
    def __le__(self: Expr[Time], other: Expr[Time] | datetime) -> Feature[bool]: ...
    def __le__(self, other: Any) -> Feature[bool]:
        return Feature("le", (self, other))

    def __and__(self: Expr[bool | None], other: Expr[bool | None]) -> Feature[bool]:
        return Feature("and", (self, other))

    def __or__(self: Expr[bool | None], other: Expr[bool | None]) -> Feature[bool]:
        return Feature("or", (self, other))

    def __invert__(self: Expr[bool | None]) -> Feature[bool]:
        return Feature("not", (self,))

    @overload
    def equals(self: Expr[Number], value: Expr[Number] | float) -> Feature[bool]: ...
    @overload
    def equals(self: Expr[Text], value: Expr[Text] | str) -> Feature[bool]: ...
    @overload
    def equals(self: Expr[Time], value: Expr[Time] | datetime) -> Feature[bool]: ...
    def equals(self, value: Any) -> Feature[bool]:
        """Whether the value is `value`; NULL where either is NULL.

        Example:
            >>> from mainspring import Column, Source, event_time
            >>> class Trip(Source, url="trips.parquet"):
            ...     city: Column[str]
            ...     began_at: Column[datetime] = event_time()
            >>> Trip.city.equals("Oslo")
            equals(Trip.city, 'Oslo')
            >>> Trip.began_at.equals(datetime(2024, 2, 29))
            equals(Trip.began_at, 2024-02-29T00:00:00+00:00)
        """
        return Feature("equals", (self, value))

    @overload
    def is_in(self: Expr[Number], values: Collection[float]) -> Feature[bool]: ...
    @overload
    def is_in(self: Expr[Text], values: Collection[str]) -> Feature[bool]: ...
    @overload
    def is_in(self: Expr[Time], values: Collection[datetime]) -> Feature[bool]: ...
    def is_in(self, values: Collection[Any]) -> Feature[bool]:
        """Whether the value is one of `values`; NULL where it is NULL.

        Example:
            >>> from mainspring import Column, Source, event_time
            >>> class Trip(Source, url="trips.parquet"):
            ...     city: Column[str]
            ...     began_at: Column[datetime] = event_time()
            >>> Trip.city.is_in({"Oslo", "Bergen"})
            is_in(Trip.city, values=('Bergen', 'Oslo'))
        """
        if isinstance(values, str):
            raise InvalidDeclaration(
                subject_name=f"{self!r}.is_in",
                problem=f"{values!r} is one text, not a list of them",
                at=declared_at(),
                remedy=f"write .is_in([{values!r}])",
            )
        listed = sorted(values, key=_shown) if isinstance(values, Set) else values
        return Feature("is_in", (self,), values=tuple(listed))

    def is_null(self) -> Feature[bool]:
        """Whether the value is NULL."""
        return Feature("is_null", (self,))

    @overload  # both fit a value that can only be NULL, and there is none
    def fill_null(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self: Expr[Filled | None], value: Expr[Filled | None] | Filled
    ) -> Feature[Filled]: ...
    @overload
    def fill_null(self: Expr[Number], value: Expr[Number] | float) -> Feature[float]: ...
    def fill_null(self, value: Any) -> Feature[Any]:
        """The value, or `value` where it is NULL; `value` may be an expression, NULL too.

        Raises:
            InvalidDeclaration: `value` is NaN or infinite.

        Example:
            >>> from mainspring import Column, Source, event_time
            >>> class Trip(Source, url="trips.parquet"):
            ...     fare: Column[float | None]
            ...     quoted: Column[float]
            ...     began_at: Column[datetime] = event_time()
            >>> Trip.fare.fill_null(Trip.quoted)
            fill_null(Trip.fare, Trip.quoted)
        """
        filled: Feature[Any] = Feature("fill_null", (self, value))
        if isinstance(value, float) and not math.isfinite(value):
            _refuse_value(filled, f"{value} is NULL itself", "fill with a finite number")
        return filled

    def __bool__(self) -> NoReturn:
        raise AmbiguousTruth(expression=repr(self), at=declared_at())

    @cached_property
    def label(self) -> str:
        """The name under which a training set carries this value."""
        return self._label()

    def _label(self) -> str:
        return repr(self)

    def definition(self) -> Any:
        """This expression as JSON for the plan: operation, arguments and settings."""
        settings = {
            name: _as_json(value) for name, value in self.settings.items() if value is not None
        }
        return {"op": self.op, "args": [_as_json(a) for a in self.args], **settings}

    def __repr__(self) -> str:
        if self.op in INFIX:
            left, right = (_in_brackets(a) for a in self.args)
            return f"{left} {INFIX[self.op]} {right}"
        options = [f"{k}={_shown(v)}" for k, v in self.settings.items() if v is not None]
        return f"{self.op}({', '.join([*map(_shown, self.args), *options])})"


INFIX: Mapping[str, str] = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "and": "&",
    "or": "|",
}
"""How an operation of two operands is written."""


def _shown(value: Any) -> str:
    """An operand or setting as it is written; a function of a shared name, with its digest."""
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))}{',' * (len(value) == 1)})"
    name: str = getattr(value, "__qualname__", "")
    return source_digest(value) if "<" in name else name or repr(value)


def _in_brackets(value: Any) -> str:
    nested = isinstance(value, Expr) and value.op in INFIX and not getattr(value, "name", "")
    return f"({value!r})" if nested else _shown(value)


def _moment(time: datetime) -> str:
    """One text for one moment, in whatever zone it was written; without a zone it is UTC."""
    return as_datetime(parse_time(time)).isoformat()


def _as_json(value: Any) -> Any:
    if isinstance(value, Expr):
        return value.definition()
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, tuple):
        return [_as_json(v) for v in value]
    if hasattr(value, "to_json"):
        return value.to_json()
    if callable(value):
        return source_digest(value)
    return value


def source_digest(function: Callable[..., Any]) -> str:
    """A function's name with a digest of its code, defaults and closure: what the plan knows of it.

    It is the same in every process of one Python version. What the function reads by a global name
    is not covered.

    Example:
        >>> source_digest(lambda x: x + 1) == source_digest(lambda x: x + 2)
        False
    """
    if isinstance(function, partial):
        return f"{source_digest(function.func)}{stable((function.args, function.keywords))}"
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{type(function).__module__}.{stable(function)}"
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = stable((code, function.__defaults__, function.__kwdefaults__, cells))
    return f"{function.__qualname__}@{hashlib.sha256(parts.encode()).hexdigest()[:12]}"


def stable(value: Any) -> str:
    """A `repr` that is the same in every process: no addresses, and sets in order.

    Example:
        >>> stable({"b", "a"}), stable(object())
        ("{'a', 'b'}", '<object object>')
    """
    code = getattr(value, "__code__", value)
    if hasattr(code, "co_code"):
        return stable((code.co_code, code.co_names, code.co_consts))
    if isinstance(value, tuple | list):
        return f"({', '.join(map(stable, value))})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(stable, value)))}}}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class Feature(Expr[T_co]):
    """A value of a view or a training set: an aggregate, or an expression of others.

    As an attribute of a `FeatureView` it takes the attribute's name.

    Example:
        >>> from mainspring import count, hours
        >>> count(window=hours(1)) / 60
        count(window=1h hop 5m) / 60
    """

    name: str = ""
    view: Any = None

    def __set_name__(self, owner: type, name: str) -> None:
        if not self.name:  # the view refuses a second name: Python 3.11 hides what is raised here
            self.name, self.view = name, owner

    def _label(self) -> str:
        return f"{self.view.__view__.id}.{self.name}" if self.name else repr(self)

    def definition(self) -> Any:
        return {"feature": self.label} if self.name else super().definition()

    def body(self) -> Any:
        """The definition itself where `definition()` gives a named feature's reference."""
        return Expr.definition(self)

    def __repr__(self) -> str:
        return f"{self.view.__name__}.{self.name}" if self.name else super().__repr__()


class Wide(Feature[Sequence[T]]):
    """A feature of several values, as `last_k` gives: a training set lists each by its number.

    Raises:
        IndexError: there is no value of that number.

    Example:
        >>> from mainspring import Column, Source, event_time, last_k
        >>> class Trip(Source, url="trips.parquet"):
        ...     fare: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> fares = last_k(Trip.fare, 3)
        >>> len(fares), fares[0]
        (3, last_k(Trip.fare, window=all history, k=3)[0])
    """

    def __len__(self) -> int:
        return int(self.settings["k"])

    def __bool__(self) -> NoReturn:
        raise AmbiguousTruth(expression=repr(self), at=declared_at())

    def __getitem__(self, number: int) -> Feature[T | None]:
        if not 0 <= number < len(self):
            raise IndexError(f"{self!r} has the values 0 to {len(self) - 1}, not {number}")
        return Item("item", (self,), index=number)


class Item(Feature[T_co]):
    """One value of a wide feature."""

    def _label(self) -> str:
        return (self.name and super()._label()) or f"{self.args[0].label}.{self.settings['index']}"

    def __repr__(self) -> str:
        named = self.name and super().__repr__()
        return named or f"{self.args[0]!r}[{self.settings['index']}]"


def leaves(expression: Any) -> Iterator[Expr[Any]]:
    """The columns and aggregates that an expression is computed from, in order, each once.

    An aggregate is a leaf: what it aggregates belongs to another row.
    """
    seen: set[int] = set()
    for leaf in _leaves(expression):
        if id(leaf) not in seen:
            seen.add(id(leaf))
            yield leaf


def _leaves(expression: Any) -> Iterator[Expr[Any]]:
    if not isinstance(expression, Expr):
        return
    if expression.op == "column" or "window" in expression.settings:
        yield expression
        return
    for argument in expression.args:
        yield from _leaves(argument)


def columns_of(expression: Any) -> Iterator[Expr[Any]]:
    """Every source column that has a part in it, within aggregates and `where=` too."""
    for leaf in leaves(expression):
        if leaf.op == "column":
            yield leaf
        else:
            for part in (*leaf.args, leaf.settings.get("where")):
                yield from columns_of(part)


def hour(of: Expr[Time]) -> Feature[int]:
    """The hour of a time, 0 to 23, in UTC.

    Example:
        >>> from mainspring import Column, Source, event_time
        >>> class Trip(Source, url="trips.parquet"):
        ...     began_at: Column[datetime] = event_time()
        >>> hour(Trip.began_at).is_in([7, 8, 9])
        is_in(hour(Trip.began_at), values=(7, 8, 9))
    """
    return Feature("hour", (of,))


def day_of_week(of: Expr[Time]) -> Feature[int]:
    """The day of the week of a time in UTC, Monday 0 to Sunday 6.

    Example:
        >>> from mainspring import Column, Source, event_time
        >>> class Trip(Source, url="trips.parquet"):
        ...     began_at: Column[datetime] = event_time()
        >>> day_of_week(Trip.began_at) >= 5
        day_of_week(Trip.began_at) >= 5
    """
    return Feature("day_of_week", (of,))


def log1p(of: Expr[Number]) -> Feature[float]:
    """The natural logarithm of 1 + x; NULL for x <= -1.

    Example:
        >>> from mainspring import count, hours
        >>> log1p(count(window=hours(1)))
        log1p(count(window=1h hop 5m))
    """
    return Feature("log1p", (of,))


def abs(of: Expr[Number]) -> Feature[float]:
    """The value without its sign.

    Example:
        >>> from mainspring import count, days, hours
        >>> abs(count(window=hours(1)) - count(window=days(1)) / 24)
        abs(count(window=1h hop 5m) - (count(window=1d hop 1h) / 24))
    """
    return Feature("abs", (of,))


def clip(of: Expr[Number], low: float, high: float) -> Feature[float]:
    """The value, held between `low` and `high`.

    Raises:
        InvalidDeclaration: `low` is above `high`.

    Example:
        >>> from mainspring import count, hours
        >>> clip(count(window=hours(1)), 0, 50)
        clip(count(window=1h hop 5m), 0, 50)
    """
    clipped: Feature[float] = Feature("clip", (of, low, high))
    if not low <= high:
        _refuse_value(clipped, f"no number is from {low} to {high}", "write the lower one first")
    return clipped


def seconds_between(earlier: Expr[Time] | datetime, later: Expr[Time] | datetime) -> Feature[float]:
    """The seconds from one time to another: negative where `later` came first.

    Example:
        >>> from mainspring import Column, Source, event_time
        >>> class Trip(Source, url="trips.parquet"):
        ...     booked_at: Column[datetime]
        ...     began_at: Column[datetime] = event_time()
        >>> seconds_between(Trip.booked_at, Trip.began_at) > 600
        seconds_between(Trip.booked_at, Trip.began_at) > 600
    """
    return _of_rows(Feature("seconds_between", (earlier, later)))


def hash_bucket(of: Expr[Text] | Expr[Number], buckets: int) -> Feature[int]:
    """A number from 0 to `buckets` - 1 for each text or number.

    Equal values have one bucket, in every process, version and platform (`vectors.hash64` modulo
    `buckets`), so a text of many values becomes a number that a model can learn from. The feature
    hashing of Weinberger et al., 2009, without its sign.

    Raises:
        InvalidDeclaration: `buckets` is no whole number from 1 to 2**53.

    Example:
        >>> from mainspring import Column, Source, event_time
        >>> class Trip(Source, url="trips.parquet"):
        ...     driver: Column[str]
        ...     began_at: Column[datetime] = event_time()
        >>> hash_bucket(Trip.driver, 1024)
        hash_bucket(Trip.driver, buckets=1024)
    """
    bucket: Feature[int] = Feature("hash_bucket", (of,), buckets=buckets)
    if type(buckets) is not int or not 1 <= buckets <= 2**53:
        _refuse_value(bucket, f"{buckets!r} is no number of buckets", "write 1024, for example")
    return bucket


def distance_km(
    lat1: Expr[Number] | float,
    lon1: Expr[Number] | float,
    lat2: Expr[Number] | float,
    lon2: Expr[Number] | float,
) -> Feature[float]:
    """The great-circle distance of two points in kilometres.

    It is NULL where a coordinate is none. The haversine formula on a sphere of the earth's mean
    radius, 6371.0088 km: up to 0.6 % off the ellipsoid. Sinnott, Virtues of the Haversine, 1984.

    Args:
        lat1: degrees north, -90 to 90; `lat2` too.
        lon1: degrees east, -180 to 180; `lon2` too.

    Example:
        >>> from mainspring import Column, Source, event_time
        >>> class Trip(Source, url="trips.parquet"):
        ...     lat: Column[float]
        ...     lon: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> distance_km(Trip.lat, Trip.lon, 59.91, 10.75)
        distance_km(Trip.lat, Trip.lon, 59.91, 10.75)
    """
    return _of_rows(Feature("distance_km", (lat1, lon1, lat2, lon2)))


def _of_rows(feature: Feature[R]) -> Feature[R]:
    """The feature, which must be computed from something that a row has."""
    if not any(isinstance(a, Expr) for a in feature.args):
        _refuse_value(feature, "is the same in every row", "use a column or a feature in it")
    return feature


def _refuse_value(feature: Feature[Any], problem: str, remedy: str) -> NoReturn:
    raise InvalidDeclaration(
        subject_name=repr(feature), problem=problem, at=feature.at, remedy=remedy
    )


def apply(
    function: Callable[..., Any], columns: Sequence[Expr[Any]], *, returns: type[R]
) -> Feature[R]:
    """Row logic that operators cannot say, as one vectorised numpy function.

    The same function runs in training, serving and replay.

    Args:
        function: takes one array per column (float64 with NaN for NULL, object arrays of text with
            None, int64 microseconds for times) and returns one array of the same length, with NULL
            in the same way. It must be pure and look at one row at a time. The arrays are copies.
        columns: what it is called with.
        returns: `float`, `int`, `bool` or `str`: the type of the result.

    Raises:
        InvalidDeclaration: `returns` is another type, or there is no column.
        FunctionFailed: when it is computed, and the function raises.
        UnfitResult: when it is computed, and the function does not return what is declared.

    Example:
        >>> import numpy as np
        >>> from mainspring import Column, Source, event_time
        >>> class Trip(Source, url="trips.parquet"):
        ...     degrees: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> apply(np.radians, [Trip.degrees], returns=float)
        apply(Trip.degrees, function=radians, returns=float)
    """
    applied: Feature[R] = Feature(
        "apply", tuple(columns), function=function, returns=Returns(returns)
    )
    if not columns or not all(isinstance(column, Expr) for column in columns):
        remedy = "list columns and features; bind constants by functools.partial"
        _refuse_value(applied, "columns= is what changes from row to row", remedy)
    return applied


class Returns:
    """The declared result type of `ms.apply`."""

    __slots__ = ("type",)

    def __init__(self, kind: type[Any]) -> None:
        if kind not in (float, int, bool, str):
            raise InvalidDeclaration(
                subject_name="ms.apply",
                problem=f"returns={kind!r} is not a feature type",
                at=declared_at(),
                remedy="write returns=float, int, bool or str",
            )
        self.type = kind

    def to_json(self) -> str:
        return self.type.__name__

    __repr__ = to_json


Kind = Literal["number", "flag", "text", "time"]
"""What a column vector holds: numbers, booleans, text, or times."""

KINDS: dict[type, Kind] = {
    float: "number",
    int: "number",
    bool: "flag",
    str: "text",
    datetime: "time",
}
"""The kind of each Python type that a column may have."""

TAKES: Mapping[str, Kind] = {
    **dict.fromkeys(("and", "or", "not", "where"), "flag"),
    **dict.fromkeys(("hour", "day_of_week", "seconds_between"), "time"),
    **dict.fromkeys(("add", "sub", "mul", "div", "neg", "distance_km"), "number"),
    **dict.fromkeys(("log1p", "abs", "clip", "sum", "mean", "min", "max", "std"), "number"),
    **dict.fromkeys(("quantile", "ewma"), "number"),
}
"""The kind of operand that an operation takes; one in `_ALIKE` takes several, others any."""

INSTEAD: Mapping[Kind, str] = {
    "number": "a column of int or float; text is compared by .equals(…) and .is_in(…)",
    "flag": "a condition, for example Source.column > 0",
    "time": "a column of datetime, or a datetime",
    "text": "a column of str, or a text",
}
"""What to use where an operand is of another kind than the one that is taken."""

_ALIKE: Mapping[str, tuple[Kind, ...]] = {
    **dict.fromkeys(("gt", "ge", "lt", "le"), ("time",)),
    **dict.fromkeys(("equals", "is_in"), ("time", "text")),
    "hash_bucket": ("text",),
    "fill_null": ("time", "text", "flag"),
}
"""The kinds, besides numbers, of which an operation takes all its operands."""

_AS_ITS_ARGUMENT = {
    *("first", "last", "latest", "last_k", "top_k", "item", "fill_null", "min", "max")
}
_FLAGS = {"gt", "ge", "lt", "le", "and", "or", "not", "equals", "is_in", "is_null"}


def kind_of(expression: Expr[Any]) -> Kind:
    """What kind of value an expression gives.

    Example:
        >>> from mainspring import count, hours
        >>> kind_of(count(window=hours(1)) > 3)
        'flag'
    """
    if expression.op == "column":
        return KINDS[expression.settings["type"]]
    if expression.op in _FLAGS:
        return "flag"
    if expression.op == "apply":
        return KINDS[expression.settings["returns"].type]
    if expression.op in _AS_ITS_ARGUMENT and expression.args:
        return kind_of(expression.args[0])
    return "number"


def _taken(op: str, args: tuple[Any, ...]) -> Kind | None:
    """The kind of operand that an operation takes: one that compares, that of its first."""
    if op not in _ALIKE:
        return TAKES.get(op)
    first = _kind_of_operand(args[0])
    for kind in _ALIKE[op]:
        if kind == first:
            return kind
    return "number"


def _kind_of_operand(operand: Any) -> str:
    """The kind of an operand, which may be a constant; the name of its type if it is of no kind."""
    if isinstance(operand, Expr):
        return kind_of(operand)
    if isinstance(operand, bool):
        return "flag"  # which is an int, too
    return next((k for t, k in KINDS.items() if isinstance(operand, t)), type(operand).__name__)
