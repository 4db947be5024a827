"""Metadata in SQLite through SQLAlchemy Core.

WAL lets readers go on while one writer writes, in any number of processes. A synced commit is
`synchronous=FULL`, an fsync of the WAL. Any other is NORMAL: safe from kill -9, and from power loss
too once a synced one follows.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError, OperationalError

from mainspring.errors import (
    DiskFull,
    DuplicateRow,
    NestedTransaction,
    SchemaTooNew,
    StoreBusy,
    StoreInherited,
)
from mainspring.stores.base import SCHEMA, TABLES, Row, checked, checked_row, key_of, ordering

_WAIT_SECONDS = 30.0
_TYPES: dict[str, type[sa.types.TypeEngine[Any]] | sa.types.TypeEngine[Any]] = {
    "int": sa.BigInteger,
    "float": sa.Double,
    "text": sa.Text,
    "json": sa.JSON(none_as_null=True),
}
_OPERATORS = {"eq": operator.eq, "ge": operator.ge, "lt": operator.lt}

# Column and operator of each condition: what a statement is made, and kept, by.
_Shape = tuple[tuple[str, str], ...]


class SqlSnapshot:
    """The rows as one transaction sees them."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def select(
        self,
        table: str,
        *,
        order: str = "",
        limit: int | None = None,
        at_least: Mapping[str, Any] | None = None,
        below: Mapping[str, Any] | None = None,
        **equal: Any,
    ) -> list[Row]:
        shape, values = _conditions(table, equal, at_least or {}, below or {})
        statement = _select(table, shape, order, limit is not None)
        result = self._connection.execute(statement, values | {"limit": limit})
        names = tuple(TABLES[table])
        return [dict(zip(names, row, strict=True)) for row in result]

    def one(self, table: str, **equal: Any) -> Row | None:
        rows = self.select(table, limit=1, **equal)
        return rows[0] if rows else None


class SqlTransaction(SqlSnapshot):
    """Changes that are committed together."""

    def insert(self, table: str, **values: Any) -> None:
        row = checked_row(table, values)
        try:
            self._connection.execute(_insert(table), row)
        except IntegrityError as error:
            key = ", ".join(f"{name}={row[name]!r}" for name in key_of(table))
            raise DuplicateRow(table=table, key=key) from error

    def upsert(self, table: str, key: Mapping[str, Any], **values: Any) -> None:
        row = checked_row(table, {**key, **values})
        self._connection.execute(_upsert(table, tuple(values)), row)

    def update(self, table: str, where: Mapping[str, Any], **values: Any) -> int:
        shape, wanted = _conditions(table, where)
        new = {f"set_{name}": value for name, value in checked(table, values).items()}
        return self._connection.execute(_update(table, shape, tuple(values)), wanted | new).rowcount

    def delete(self, table: str, **equal: Any) -> int:
        shape, wanted = _conditions(table, equal)
        return self._connection.execute(_delete(table, shape), wanted).rowcount

    def next_number(self, name: str) -> int:
        number: int = self._connection.execute(_COUNT, {"name": name, "value": 1}).scalar_one()
        return number


class SqlMetadata:
    """A metadata store in one SQLite file.

    Threads of one process queue to write; processes wait for one another, up to 30 s.
    """

    def __init__(self, url: str, sync: bool = True) -> None:
        self._path = sa.make_url(url).database or ""
        self._sync = sync
        self._process = os.getpid()
        self._alone = threading.Lock()
        self._writer: int | None = None  # the thread that has begun
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        self._engine = _engine(url)
        self._reading = self._engine.execution_options(begin="BEGIN")
        self._writing = {
            synced: self._engine.execution_options(begin="BEGIN IMMEDIATE", synchronous=mode)
            for synced, mode in ((True, "FULL"), (False, "NORMAL"))
        }
        self._create()

    @contextmanager
    def begin(self, sync: bool = True) -> Generator[SqlTransaction]:
        with self._turn(), self._named_errors():
            with self._writing[sync and self._sync].begin() as connection:
                yield SqlTransaction(connection)

    @contextmanager
    def read(self) -> Generator[SqlSnapshot]:
        with self._named_errors(), self._reading.begin() as connection:
            yield SqlSnapshot(connection)

    def close(self) -> None:
        self._engine.dispose()

    def _create(self) -> None:
        with self.begin() as transaction:
            _SCHEMA.create_all(transaction._connection)  # pyright: ignore[reportPrivateUsage]
            found = transaction.one("counter", name="schema")
            if found is None:
                transaction.insert("counter", name="schema", value=SCHEMA)
            elif found["value"] > SCHEMA:
                raise SchemaTooNew(path=self._path, found=found["value"], known=SCHEMA)

    @contextmanager
    def _turn(self) -> Generator[None]:
        """One writer of this process at a time; SQLite would let a thread wait for itself."""
        if self._writer == threading.get_ident():
            raise NestedTransaction(path=self._path)
        if not self._alone.acquire(timeout=_WAIT_SECONDS):
            raise StoreBusy(path=self._path, seconds=_WAIT_SECONDS)
        self._writer = threading.get_ident()
        try:
            yield
        finally:
            self._writer = None
            self._alone.release()

    @contextmanager
    def _named_errors(self) -> Generator[None]:
        if self._process != os.getpid():
            raise StoreInherited(path=self._path, opened=self._process, used=os.getpid())
        try:
            yield
        except OperationalError as error:
            name: str = getattr(error.orig, "sqlite_errorname", "")
            if name.startswith("SQLITE_BUSY"):
                raise StoreBusy(path=self._path, seconds=_WAIT_SECONDS) from error
            if name == "SQLITE_FULL":
                raise DiskFull(path=self._path, reason=str(error.orig)) from error
            raise


def connect(url: str, sync: bool = True) -> SqlMetadata:
    """The store at `sqlite:///path`; file and tables are created when they are not there."""
    return SqlMetadata(url, sync)


def _engine(url: str) -> sa.Engine:
    engine = sa.create_engine(
        url,
        max_overflow=-1,
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
        # The driver would begin by itself, and only at the first change.
        connect_args={"isolation_level": None, "timeout": _WAIT_SECONDS},
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL").close()


def _begin(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    mode = options.get("synchronous")
    if mode and connection.info.get("synchronous") != mode:
        connection.exec_driver_sql(f"PRAGMA synchronous={mode}")
        connection.info["synchronous"] = mode
    connection.exec_driver_sql(options["begin"])


def _conditions(
    table: str,
    equal: Mapping[str, Any],
    at_least: Mapping[str, Any] | None = None,
    below: Mapping[str, Any] | None = None,
) -> tuple[_Shape, dict[str, Any]]:
    nulls = {name for name, value in equal.items() if value is None}
    checked(table, dict.fromkeys(nulls - set(key_of(table))))
    equal = {name: value for name, value in equal.items() if name not in nulls}
    values = {
        (name, how): value
        for how, wanted in (("eq", equal), ("ge", at_least or {}), ("lt", below or {}))
        for name, value in checked(table, wanted).items()
    }
    shape = (*values, *((name, "null") for name in sorted(nulls)))
    return shape, {f"{how}_{name}": value for (name, how), value in values.items()}


def _where(table: str, shape: _Shape) -> list[sa.ColumnElement[bool]]:
    columns = _SCHEMA.tables[table].c
    return [
        columns[name].is_(None)
        if how == "null"
        else _OPERATORS[how](columns[name], sa.bindparam(f"{how}_{name}"))
        for name, how in shape
    ]


@cache
def _select(table: str, shape: _Shape, order: str, limited: bool) -> sa.Select[Any]:
    target = _SCHEMA.tables[table]
    statement = sa.select(target).where(*_where(table, shape))
    for name, down in ordering(table, order):
        column = target.c[name]
        statement = statement.order_by(column.desc().nulls_last() if down else column)
    return statement.limit(sa.bindparam("limit", type_=sa.Integer)) if limited else statement


@cache
def _insert(table: str) -> sa.Insert:
    return sa.insert(_SCHEMA.tables[table])


@cache
def _upsert(table: str, names: tuple[str, ...]) -> sa.Insert:
    statement = insert(_SCHEMA.tables[table])
    if not names:
        return statement.on_conflict_do_nothing(index_elements=key_of(table))
    new = {name: statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(index_elements=key_of(table), set_=new)


@cache
def _update(table: str, shape: _Shape, names: tuple[str, ...]) -> sa.Update:
    new: dict[str, Any] = {name: sa.bindparam(f"set_{name}") for name in names}
    return sa.update(_SCHEMA.tables[table]).where(*_where(table, shape)).values(new)


@cache
def _delete(table: str, shape: _Shape) -> sa.Delete:
    return sa.delete(_SCHEMA.tables[table]).where(*_where(table, shape))


def _schema() -> sa.MetaData:
    schema = sa.MetaData()
    for table, columns in TABLES.items():
        kinds = {name: declared.partition(" ") for name, declared in columns.items()}
        sa.Table(
            table,
            schema,
            *(
                sa.Column(name, _TYPES[kind], primary_key=bool(key), autoincrement=False)
                for name, (kind, _, key) in kinds.items()
            ),
        )
    return schema


_SCHEMA = _schema()
_COUNTER = _SCHEMA.tables["counter"]
_COUNT = (
    insert(_COUNTER)
    .on_conflict_do_update(index_elements=["name"], set_={"value": _COUNTER.c.value + 1})
    .returning(_COUNTER.c.value)
)
