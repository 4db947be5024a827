"""`Source`: a typed feed of rows at a URL; its class body is the contract."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    overload,
)

from mainspring.errors import InvalidDeclaration, closest, declared_at
from mainspring.expressions import KINDS, Expr
from mainspring.windows import microseconds

T = TypeVar("T")
S = TypeVar("S")

Role = Literal["", "change", "arrival"]
"""What a column says of its row, beyond a value."""

CHANGES = ("insert", "upsert", "delete")
"""What a row of a change feed does to the row with its unique key."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What the contract asks of one column beyond its type."""

    unique: bool = False
    ge: float | None = None
    le: float | None = None
    one_of: tuple[str, ...] | None = None
    pattern: str | None = None
    bad_at_most: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """The checks that were asked for."""
        given = {
            n: getattr(self, n) for n in self.__slots__ if getattr(self, n) != getattr(NONE, n)
        }
        return given | ({"one_of": list(self.one_of)} if self.one_of is not None else {})


NONE = Checks()
"""The contract of a column that asks for its type alone."""


class ColumnOf(Expr[T], Generic[S, T]):
    """A column of source `S` with values `T`: what a type checker sees in `Flight.carrier`.

    At run time it is the `Column` itself. It is invariant in both, so that a column of a foreign
    source is a static error.
    """

    name: str
    source: type[S]

    def _invariant(self, source: S) -> S:
        raise NotImplementedError


class Column(Expr[T]):
    """A column of a source: declared as an annotation, read as an expression.

    `Column[str | None]` may be NULL. On the class it is an expression, on a row it is the value.

    Example:
        >>> class Payment(Source, url="payments.parquet"):
        ...     card: Column[str]
        ...     amount: Column[float] = column(ge=0)
        ...     paid_at: Column[datetime] = event_time()
        >>> Payment.amount
        Payment.amount
        >>> Payment(card="c1", amount=9.5, paid_at=datetime(2024, 5, 1)).amount
        9.5
    """

    name: str = ""
    source: Any = None
    nullable: bool = False
    checks: Checks = NONE
    field: str = ""
    late_by: timedelta | None = None  # set on the event time only
    role: Role = ""

    def __init__(self, checks: Checks | None = None, name_in_file: str = "") -> None:
        super().__init__("column")
        self.checks = checks or NONE
        self.field = name_in_file

    @overload
    def __get__(self, instance: None, owner: type[S]) -> ColumnOf[S, T]: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> T: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: T) -> None:
        instance.__dict__[self.name] = value

    def bind(self, source: type, name: str, annotation: Any) -> None:
        """Take the name and the type that the class body gives."""
        kind, nullable = _column_type(source, name, annotation)
        self.source, self.name = source, name
        self.nullable = nullable or self.role == "arrival"
        self.field = self.field or name
        self.settings = types.MappingProxyType({"type": kind})

    @property
    def type(self) -> type[Any]:
        """The Python type of its values: `str`, `int`, `float`, `bool` or `datetime`."""
        kind: type[Any] = self.settings["type"]
        return kind

    def _label(self) -> str:
        return self.name

    def definition(self) -> Any:
        return {"column": f"{self.source.__schema__.id}.{self.name}"}

    def __repr__(self) -> str:
        return f"{self.source.__name__}.{self.name}"


def column(
    *,
    unique: bool = False,
    ge: float | None = None,
    le: float | None = None,
    one_of: tuple[str, ...] | None = None,
    pattern: str | None = None,
    bad_at_most: float = 1.0,
    field: str = "",
) -> Any:
    """The checks of a column; a row that breaks one is quarantined with the reason.

    Args:
        unique: no two rows share the value; a source with a unique column is idempotent by it.
        ge, le: the least and the greatest number allowed.
        one_of: the texts allowed.
        pattern: a regular expression that the whole text must match.
        bad_at_most: the share of one ingest's rows that may break the column's checks; if more do,
            nothing of it is taken.
        field: the column's name in the file, where it differs.

    Example:
        >>> column(ge=0, le=1).checks.to_json()
        {'ge': 0, 'le': 1}
    """
    return Column(Checks(unique, ge, le, one_of, pattern, bad_at_most), field)


def event_time(*, late_by: timedelta = timedelta(0), field: str = "") -> Any:
    """The column that says when a row's event happened; a source has exactly one.

    Args:
        late_by: how long after its event a row of history can be known: its arrival time, where
            none was stamped.
        field: the column's name in the file, where it differs.

    Raises:
        InvalidDeclaration: `late_by` is not a duration.

    Example:
        >>> from mainspring import minutes
        >>> event_time(late_by=minutes(5)).late_by
        datetime.timedelta(seconds=300)
    """
    microseconds(late_by, "late_by")
    time: Column[datetime] = Column(NONE, field)
    time.late_by = late_by
    return time


def change(*, field: str = "") -> Any:
    """The column of a change feed that says what a row does to that of its key.

    With it a row is a version of the one row with its unique key: `insert` and `upsert` put it in
    place of the version before, `delete` takes that away. A version counts from its arrival on, and
    until the next one arrives, in training and in serving alike. A row to delete needs its unique
    key and its event time; other columns may be NULL.

    Args:
        field: the column's name in the file, where it differs.

    Example:
        >>> class Order(Source, url="orders.parquet"):
        ...     order_id: Column[str] = column(unique=True)
        ...     amount: Column[float]
        ...     op: Column[str] = change()
        ...     placed_at: Column[datetime] = event_time()
        >>> Order.__schema__.is_feed
        True
    """
    return _with_role("change", Checks(one_of=CHANGES), field)


def arrival_time(*, field: str = "") -> Any:
    """The column of history that says when a row could be known.

    Where it is NULL the row arrives `late_by` after its event. A row that comes
    live is stamped when it is taken in, whatever the column has.

    Args:
        field: the column's name in the file, where it differs.

    Example:
        >>> class Order(Source, url="orders.parquet"):
        ...     amount: Column[float]
        ...     placed_at: Column[datetime] = event_time()
        ...     known_at: Column[datetime] = arrival_time()
        >>> Order.__schema__.arrival
        Order.known_at
    """
    return _with_role("arrival", NONE, field)


def _with_role(role: Role, checks: Checks, field: str) -> Column[Any]:
    found: Column[Any] = Column(checks, field)
    found.role = role
    return found


@dataclass(frozen=True, slots=True)
class Schema:
    """What a source declares: `Flight.__schema__`, kept apart so that any column name is free."""

    id: str
    url: str
    at: str
    columns: Mapping[str, Column[Any]]
    event: Column[Any]
    unique: Column[Any] | None
    change: Column[Any] | None = None
    arrival: Column[Any] | None = None

    @property
    def is_feed(self) -> bool:
        """Whether a row may be changed or taken away by a later one: a change feed."""
        return self.change is not None

    @property
    def late_by(self) -> int:
        """Microseconds from an event of history to its arrival."""
        return microseconds(self.event.late_by or timedelta(0))

    def definition(self) -> dict[str, Any]:
        """The source as JSON for the plan."""
        return {
            "url": self.url,
            "event_time": self.event.name,
            "late_by_us": self.late_by,
            "columns": {name: _column_definition(c) for name, c in self.columns.items()},
        }


def _column_definition(column: Column[Any]) -> dict[str, Any]:
    named = {} if column.field == column.name else {"field": column.field}
    return {
        "type": column.type.__name__,
        "null": column.nullable,
        **({"role": column.role} if column.role else {}),
        **named,
        **column.checks.to_json(),
    }


@dataclass_transform(
    kw_only_default=True, field_specifiers=(column, event_time, change, arrival_time)
)
class Source:
    """A typed feed of rows at a URL. One class; its columns are the contract.

    Args of the class statement:
        url: where the rows are: a Parquet or CSV file, or a glob of them, relative to the system
            file.
        name: its name in plans and stores, if not the class name; keeps stored state across a
            rename.

    Raises:
        InvalidDeclaration: a column of an unknown type, none or several event times, a change feed
            without one unique column that is never NULL, an arrival time that is the event time.

    Example:
        >>> class Click(Source, url="clicks/*.parquet"):
        ...     ad: Column[str]
        ...     clicked_at: Column[datetime] = event_time(late_by=timedelta(minutes=5))
        >>> Click.__schema__.event, list(Click.__schema__.columns)
        (Click.clicked_at, ['ad', 'clicked_at'])
    """

    __schema__: ClassVar[Schema]

    def __init_subclass__(cls, *, url: str, name: str | None = None) -> None:
        body = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        columns = types.MappingProxyType(dict(_declared_columns(cls, body)))
        times = [c for c in columns.values() if c.late_by is not None]
        if len(times) != 1:
            found = ", ".join(c.name for c in times) or "none"
            problem = f"a source has exactly one event time, this one has {found}"
            raise _invalid(cls, problem, "mark one column: = ms.event_time()")
        unique = next((c for c in columns.values() if c.checks.unique), None)
        changes = _only(cls, columns.values(), "change", str)
        if changes is not None:
            _refuse_unnamed(cls, columns.values(), changes)
        arrival = _only(cls, columns.values(), "arrival", datetime)
        if arrival is not None and arrival.field == times[0].field:
            problem = f"{arrival.name} and {times[0].name} are one column of the file"
            raise _invalid(cls, problem, f"take {arrival.name} out: it says nothing more")
        cls.__schema__ = Schema(
            name or cls.__name__, url, declared_at(), columns, times[0], unique, changes, arrival
        )

    def __init__(self, **values: Any) -> None:
        for name, column in self.__schema__.columns.items():
            if name not in values and not column.nullable:
                raise TypeError(f"{type(self).__name__}() needs {name}=")
            self.__dict__[name] = values.pop(name, None)
        if values:
            unknown = next(iter(values))
            hint = closest(unknown, self.__schema__.columns)
            raise TypeError(f"{type(self).__name__} has no column {unknown!r}; {hint}")

    def __repr__(self) -> str:
        values = (f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({', '.join(values)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    __hash__ = None  # type: ignore[assignment]


def _only(cls: type, columns: Iterable[Column[Any]], role: Role, kind: type) -> Column[Any] | None:
    """The column of a role, of which there is at most one."""
    found = [c for c in columns if c.role == role]
    if len(found) > 1:
        named = ", ".join(c.name for c in found)
        raise _invalid(cls, f"it has several {role} columns: {named}", "keep one of them")
    if found and found[0].type is not kind:
        problem = f"{found[0].name} is a {found[0].type.__name__}"
        raise _invalid(cls, problem, f"write {found[0].name}: Column[{kind.__name__}]")
    return found[0] if found else None


def _refuse_unnamed(cls: type, columns: Iterable[Column[Any]], change: Column[Any]) -> None:
    """Refuses a change feed unless one column that is always there names the row it changes."""
    keys = [c for c in columns if c.checks.unique]
    if not keys:
        problem = f"{change.name} changes rows that nothing names"
        raise _invalid(cls, problem, "mark their key: = ms.column(unique=True)")
    if len(keys) > 1:
        named = " or ".join(c.name for c in keys)
        problem = f"{change.name} changes the row of {named}: which one is not said"
        raise _invalid(cls, problem, "keep unique=True on one column")
    if keys[0].nullable:  # NULLs would be versions of one row
        problem = f"{change.name} changes the row of {keys[0].name}, which may be NULL"
        kind = keys[0].type.__name__
        raise _invalid(cls, problem, f"write {keys[0].name}: Column[{kind}]")


def _declared_columns(cls: type[Source], body: types.FrameType) -> list[tuple[str, Column[Any]]]:
    # Strings are read where the class stands, without its own columns: those may hide a name.
    names: dict[str, Any] = {**body.f_globals, **body.f_locals}
    try:
        annotations = inspect.get_annotations(cls, globals=names, locals={}, eval_str=True)
    except NameError as error:
        remedy = "import the name at the top of the file"
        raise _invalid(cls, f"an annotation cannot be read: {error}", remedy) from error
    found: list[tuple[str, Column[Any]]] = []
    for name, annotation in annotations.items():
        declared = cls.__dict__.get(name)
        column: Column[Any] = declared if isinstance(declared, Column) else Column()
        column.bind(cls, name, annotation)
        setattr(cls, name, column)
        found.append((name, column))
    return found


def _column_type(cls: type, name: str, annotation: Any) -> tuple[type, bool]:
    inner = get_args(annotation)[0] if get_origin(annotation) is Column else None
    options = get_args(inner) if get_origin(inner) in (Union, types.UnionType) else (inner,)
    kinds = [k for k in options if k is not type(None)]
    if len(kinds) != 1 or kinds[0] not in KINDS:
        remedy = "write Column[str], [int], [float], [bool] or [datetime], each also | None"
        raise _invalid(cls, f"column {name!r} has the type {annotation}", remedy)
    return kinds[0], len(kinds) < len(options)


def _invalid(cls: type, problem: str, remedy: str) -> InvalidDeclaration:
    return InvalidDeclaration(
        subject_name=cls.__name__, problem=problem, at=declared_at(), remedy=remedy
    )
