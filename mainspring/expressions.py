"""Expressions over columns and features: nodes that say what a value is, never how it is computed.

The same node is evaluated by `vectors.evaluate` on one request and on a million training rows, so a
value has one definition. NULL is contagious: an operation on NULL gives NULL, and so does a
division by zero; `fill_null` ends it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Generic, Literal, NoReturn, TypeVar

from mainspring.errors import AmbiguousTruth, InvalidDeclaration, declared_at

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
R = TypeVar("R", bool, int, float, str)

Number = float | None
"""What arithmetic takes: numbers, or columns of numbers that may be NULL."""


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
        for argument in args:
            self._refuse(argument, op)
        if settings.get("where") is not None:
            self._refuse(settings["where"], "where")

    def _refuse(self, operand: Any, op: str) -> None:
        """Raise where `op` takes no operand of this kind: for those who run no type checker."""
        wanted, found = TAKES.get(op), _kind_of_operand(operand)
        if wanted and found != wanted and (found, wanted) != ("flag", "number"):
            raise InvalidDeclaration(
                subject_name=repr(self),
                problem=f"{operand!r} is a {found}, {INFIX.get(op, op)} takes a {wanted}",
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

    def __gt__(self: Expr[Number], other: Expr[Number] | float) -> Feature[bool]:
        return Feature("gt", (self, other))

    def __ge__(self: Expr[Number], other: Expr[Number] | float) -> Feature[bool]:
        return Feature("ge", (self, other))

    def __lt__(self: Expr[Number], other: Expr[Number] | float) -> Feature[bool]:
        return Feature("lt", (self, other))

    def __le__(self: Expr[Number], other: Expr[Number] | float) -> Feature[bool]:
        return Feature("le", (self, other))

    def __and__(self: Expr[bool | None], other: Expr[bool | None]) -> Feature[bool]:
        return Feature("and", (self, other))

    def __or__(self: Expr[bool | None], other: Expr[bool | None]) -> Feature[bool]:
        return Feature("or", (self, other))

    def __invert__(self: Expr[bool | None]) -> Feature[bool]:
        return Feature("not", (self,))

    def equals(self, value: object) -> Feature[bool]:
        """Whether the value is `value`; NULL where either is NULL.

        Example:
            >>> from mainspring import Column, Source, event_time
            >>> class Trip(Source, url="trips.parquet"):
            ...     city: Column[str]
            ...     began_at: Column[datetime] = event_time()
            >>> Trip.city.equals("Oslo")
            equals(Trip.city, 'Oslo')
        """
        return Feature("equals", (self, value))

    def is_in(self, values: Sequence[object]) -> Feature[bool]:
        """Whether the value is one of `values`; NULL where it is NULL."""
        if isinstance(values, str):
            raise InvalidDeclaration(
                subject_name=f"{self!r}.is_in",
                problem=f"{values!r} is one text, not a list of them",
                at=declared_at(),
                remedy=f"write .is_in([{values!r}])",
            )
        return Feature("is_in", (self,), values=tuple(values))

    def is_null(self) -> Feature[bool]:
        """Whether the value is NULL."""
        return Feature("is_null", (self,))

    def fill_null(self: Expr[T | None], value: T) -> Feature[T]:
        """The value, or `value` where it is NULL."""
        return Feature("fill_null", (self, value))

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
    name: str = getattr(value, "__qualname__", "")
    return source_digest(value) if "<" in name else name or repr(value)


def _in_brackets(value: Any) -> str:
    nested = isinstance(value, Expr) and value.op in INFIX and not getattr(value, "name", "")
    return f"({value!r})" if nested else repr(value)


def _as_json(value: Any) -> Any:
    if isinstance(value, Expr):
        return value.definition()
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


def hour(of: Expr[datetime | None]) -> Feature[int]:
    """The hour of a time, 0 to 23, in UTC.

    Example:
        >>> from mainspring import Column, Source, event_time
        >>> class Trip(Source, url="trips.parquet"):
        ...     began_at: Column[datetime] = event_time()
        >>> hour(Trip.began_at).is_in([7, 8, 9])
        is_in(hour(Trip.began_at), values=(7, 8, 9))
    """
    return Feature("hour", (of,))


def day_of_week(of: Expr[datetime | None]) -> Feature[int]:
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

    Example:
        >>> from mainspring import count, hours
        >>> clip(count(window=hours(1)), 0, 50)
        clip(count(window=1h hop 5m), 0, 50)
    """
    return Feature("clip", (of, low, high))


def apply(
    function: Callable[..., Any], columns: Sequence[Expr[Any]], *, returns: type[R]
) -> Feature[R]:
    """Row logic that operators cannot say, as one vectorised numpy function.

    The same function runs in training, serving and replay.

    Args:
        function: takes one array per column (float64 with NaN for NULL, object arrays of text with
            None, int64 microseconds for times) and returns one array of the same length. It must be
            pure and look at one row at a time.
        columns: what it is called with.
        returns: `float`, `int`, `bool` or `str`: the type of the result.

    Raises:
        InvalidDeclaration: `returns` is another type.

    Example:
        >>> import numpy as np
        >>> from mainspring import Column, Source, event_time
        >>> class Trip(Source, url="trips.parquet"):
        ...     degrees: Column[float]
        ...     began_at: Column[datetime] = event_time()
        >>> apply(np.radians, [Trip.degrees], returns=float)
        apply(Trip.degrees, function=radians, returns=float)
    """
    return Feature("apply", tuple(columns), function=function, returns=Returns(returns))


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
    **dict.fromkeys(("hour", "day_of_week"), "time"),
    **dict.fromkeys(("add", "sub", "mul", "div", "neg", "gt", "ge", "lt", "le"), "number"),
    **dict.fromkeys(("log1p", "abs", "clip", "sum", "mean", "min", "max", "std"), "number"),
}
"""The kind of operand that an operation takes; those that take any are not listed."""

INSTEAD: Mapping[Kind, str] = {
    "number": "a column of int or float; text is compared by .equals(…) and .is_in(…)",
    "flag": "a condition, for example Source.column > 0",
    "time": "a column of datetime",
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
    if expression.op in ("first", "last", "fill_null", "min", "max") and expression.args:
        return kind_of(expression.args[0])
    return "number"


def _kind_of_operand(operand: Any) -> str:
    """The kind of an operand, which may be a constant; the name of its type if it is of no kind."""
    if isinstance(operand, Expr):
        return kind_of(operand)
    return next((k for t, k in KINDS.items() if isinstance(operand, t)), type(operand).__name__)
