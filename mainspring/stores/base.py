"""The protocols of the stores, and the tables that every metadata store keeps.

Everything the system decides is a row here: plans, versions, aliases, decisions, journal steps.
Times are microseconds on the system's clock. Values are int, float (NaN is NULL), text, and json
for what has structure.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import msgspec
import pyarrow as pa

from mainspring.errors import UnknownName, WrongValue

Row = dict[str, Any]

SCHEMA = 1

TABLES: Mapping[str, Mapping[str, str]] = {
    "plan": {"number": "int key", "system": "text", "hash": "text", "plan": "json", "at": "int"},
    "step": {
        "key": "text key",
        "kind": "text",
        "state": "text",  # running, failed, done
        "owner": "text",
        "token": "int",
        "lease_until": "int",  # on the wall clock, even in a replay
        "attempts": "int",
        "started_at": "int",
        "ended_at": "int",
        "output": "json",
    },
    "version": {
        "model": "text key",
        "number": "int key",
        "sha256": "text",
        "rows_hash": "text",
        "folder": "text",
        "signature": "json",
        "metrics": "json",
        "gates": "json",
        "ladder": "json",
        "reason": "text",
        "at": "int",
        "state": "text",
    },
    "alias": {
        "subject": "text key",
        "role": "text key",  # champion, canary, shadow, frozen
        "number": "int",
        "share": "float",
        "at": "int",
    },
    "decision": {
        "number": "int key",
        "at": "int",
        "subject": "text",
        "kind": "text",
        "reason": "text",
        "evidence": "json",
    },
    "run": {
        "number": "int key",
        "model": "text",
        "version": "int",
        "at": "int",
        "parameters": "json",
        "rows_hash": "text",
        "code_hash": "text",
        "environment": "json",
        "seed": "int",
        "seconds": "float",
    },
    "metric": {"run": "int key", "name": "text key", "step": "int key", "value": "float"},
    "incident": {
        "number": "int key",
        "monitor": "text",
        "opened_at": "int",
        "closed_at": "int",
        "level": "text",
        "subject": "text",
        "evidence": "json",
    },
    "measurement": {
        "series": "text key",
        "at": "int key",
        "variant": "text key",
        "value": "float",
        "low": "float",
        "high": "float",
        "rows": "int",
    },
    "cursor": {"name": "text key", "value": "int", "note": "text"},
    "counter": {"name": "text key", "value": "int"},
}


class Snapshot(Protocol):
    """The rows as they were at one moment."""

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
        """The rows with these values, in `order` ("-at" is newest first), ties by the key."""
        ...

    def one(self, table: str, **equal: Any) -> Row | None:
        """The first row with these values, if there is one."""
        ...


class Transaction(Snapshot, Protocol):
    """A set of changes that happen together or not at all."""

    def insert(self, table: str, **values: Any) -> None:
        """Adds a row; `DuplicateRow` when its key is taken."""
        ...

    def upsert(self, table: str, key: Mapping[str, Any], **values: Any) -> None:
        """Adds the row of this key or changes these values of it."""
        ...

    def update(self, table: str, where: Mapping[str, Any], **values: Any) -> int:
        """Changes the rows that have the values `where`; how many there were."""
        ...

    def delete(self, table: str, **equal: Any) -> int:
        """Deletes the rows with these values; how many there were."""
        ...

    def next_number(self, name: str) -> int:
        """1, 2, 3, … without a gap: a number is taken only if the transaction is."""
        ...


class Metadata(Protocol):
    """Where the system keeps what it has decided; used by many threads and processes at once."""

    def begin(self, sync: bool = True) -> AbstractContextManager[Transaction]:
        """One writer's transaction: committed at the end of the block, undone when it raises.

        A commit survives kill -9; with `sync` also power loss, for the price of one fsync.
        """
        ...

    def read(self) -> AbstractContextManager[Snapshot]:
        """A consistent view, taken at the first question; it waits for no writer."""
        ...

    def close(self) -> None:
        """Lets go of the files or connections."""
        ...


def columns_of(table: str) -> Mapping[str, str]:
    """The columns of a table and their kinds.

    Raises:
        UnknownName: there is no such table.

    Example:
        >>> columns_of("counter")
        {'name': 'text key', 'value': 'int'}
    """
    if table not in TABLES:
        raise UnknownName.among("metadata table", table, TABLES)
    return TABLES[table]


def key_of(table: str) -> tuple[str, ...]:
    """The key columns of a table.

    Example:
        >>> key_of("alias")
        ('subject', 'role')
    """
    return tuple(name for name, kind in columns_of(table).items() if kind.endswith(" key"))


def checked(table: str, values: Mapping[str, Any]) -> Row:
    """The values as they come back: plain ints and floats, NULL for NaN, lists for tuples.

    Raises:
        UnknownName: the table has no such column.
        WrongValue: a value is not of the column's kind, or a key is NULL.

    Example:
        >>> checked("metric", {"run": True, "value": float("nan")})
        {'run': 1, 'value': None}
    """
    columns = columns_of(table)
    return {name: _converted(table, columns, name, value) for name, value in values.items()}


def checked_row(table: str, values: Mapping[str, Any]) -> Row:
    """The values of a new row: `checked`, and the whole key is there."""
    return checked(table, dict.fromkeys(key_of(table)) | dict(values))


def ordering(table: str, order: str) -> list[tuple[str, bool]]:
    """The columns to sort by and whether downwards; ties go by the key, so there is one order.

    Example:
        >>> ordering("alias", "-at")
        [('at', True), ('subject', True), ('role', True)]
    """
    down = order.startswith("-")
    first = [order.removeprefix("-")] if order else []
    checked(table, dict.fromkeys(set(first) - set(key_of(table))))
    return [(name, down) for name in dict.fromkeys([*first, *key_of(table)])]


def _converted(table: str, columns: Mapping[str, str], name: str, value: Any) -> Any:
    if name not in columns:
        raise UnknownName.among(f"column of {table}", name, columns)
    kind, _, key = columns[name].partition(" ")
    try:
        if value is None and not key:
            return None
        return _CONVERTERS[kind](value)
    except (TypeError, ValueError) as error:
        got = f"{value!r:.60} ({type(value).__name__})"
        raise WrongValue(table=table, column=name, expected=kind, got=got) from error


def _float(value: Any) -> float | None:
    if isinstance(value, str):
        raise TypeError
    number = float(value)
    return number if number == number else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_plain))


def _plain(value: Any) -> Any:
    """The scalars and arrays of numpy, as JSON can say them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError


_CONVERTERS = {
    "int": lambda value: int(operator.index(value)),
    "float": _float,
    "text": _text,
    "json": _json,
}


Within: TypeAlias = tuple[str, int, int]
"""A column of integers, and a range of its values from the first on to before the second."""


class TableStore(Protocol):
    """Tables as (version, file list): a commit is all or nothing, and a version is never changed.

    A commit is there whole or not at all, whatever was killed. Readers hold on to the files of the
    version they have asked for.
    """

    def append(
        self,
        name: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        *,
        once: tuple[str, int],
        moves: Mapping[str, tuple[int, int]] | None = None,
    ) -> bool:
        """Appends rows in one commit, unless the same was committed before; says whether it did.

        Args:
            once: a name and a growing number that stand in the commit: it is a no-op where the name
                is at this number already.
            moves: more names, each with the number it must be at and the one it gets.

        Raises:
            WriteConflict: one of these names is elsewhere: someone else wrote meanwhile.
        """
        ...

    def committed(self, name: str, app: str) -> int:
        """The last number that was committed under a name; -1 if none."""
        ...

    def files(self, name: str, within: Within | None = None) -> list[str]:
        """The Parquet files of the latest version; none for a table without rows.

        Args:
            within: leaves out files that cannot have a row in this range.
        """
        ...

    def version(self, name: str) -> int:
        """The latest version; -1 for a table that was never written."""
        ...

    def delete(self, name: str, column: str, values: pa.Array) -> int:
        """Deletes the rows whose column has one of the values, in one commit; how many there were.

        Raises:
            WriteConflict: others kept writing to the table.
        """
        ...

    def compact(self, name: str) -> None:
        """Puts small files together, in one commit that changes no row.

        Readers can hold on to the files of a version for an hour; then they may be deleted.
        """
        ...


class OnlineStore(Protocol):
    """Bytes by key, read by many processes in snapshots and written by one in transactions."""

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys in one snapshot."""
        ...

    def write(self, items: Mapping[bytes, bytes]) -> None:
        """Sets values in one transaction, durable when it returns."""
        ...

    def clear(self, items: Mapping[bytes, bytes]) -> None:
        """Takes everything out and sets values, in one transaction."""
        ...

    def close(self) -> None:
        """Closes the store."""
        ...
