"""Delta Lake tables in a folder: a version is a list of Parquet files, a commit all or nothing.

Writers of one table take turns by a lock, which falls with their process; readers wait for nobody.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from mainspring.errors import WriteConflict
from mainspring.stores.base import Within

_SETTINGS = {"delta.checkpointInterval": "20"}  # commits: opening reads those since the checkpoint
_MANY = 64  # files: each more costs a query about a millisecond
_LARGE = 1 << 25  # bytes of a file that is not put together with others any more
_KEPT = 1  # hours that a reader may hold on to the files of a version
_WRITER = WriterProperties(compression="SNAPPY", max_row_group_size=1 << 17)


class Tables:
    """The tables of one folder, one subfolder each.

    Many small files are put together when the next is written; what they were is kept for an hour.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> rows = pa.RecordBatch.from_pydict({"n": [1, 2]})
        >>> with TemporaryDirectory() as folder:
        ...     tables = Tables(Path(folder))
        ...     [tables.append("t", rows.schema, [rows], once=("log", 2)) for _ in range(2)]
        ...     tables.committed("t", "log"), tables.version("t"), len(tables.files("t"))
        [True, False]
        (2, 0, 1)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[str, DeltaTable] = {}

    def append(
        self,
        name: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        *,
        once: tuple[str, int],
        moves: Mapping[str, tuple[int, int]] | None = None,
    ) -> bool:
        with self._turn(name) as table:
            if _number(table, once[0]) >= once[1]:
                return False
            for app, (start, _) in (moves or {}).items():
                if _number(table, app) != start:
                    raise WriteConflict(table=name, problem=f"{app} is no longer at {start}")
            numbers = {app: end for app, (_, end) in (moves or {}).items()} | dict([once])
            write_deltalake(
                table or self._path(name),
                pa.RecordBatchReader.from_batches(schema, iter(batches)),
                mode="append",
                schema_mode="merge",
                configuration=_SETTINGS,
                writer_properties=_WRITER,
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(app, number) for app, number in numbers.items()]
                ),
            )
            if (written := self._open(name)) and len(written.file_uris()) > _MANY:
                _compact(written)
        return True

    def committed(self, name: str, app: str) -> int:
        return _number(self._open(name), app)

    def files(self, name: str, within: Within | None = None) -> list[str]:
        table = self._open(name)
        if table is None:
            return []
        files = sorted(map(unquote, table.file_uris()))
        return files if within is None else self._reaching(files, table, *within)

    def _reaching(
        self, files: list[str], table: DeltaTable, column: str, start: int, end: int
    ) -> list[str]:
        """The files that may have rows in a range, by the statistics of the log."""
        stated = pa.table(table.get_add_actions(flatten=True))
        if f"min.{column}" not in stated.column_names:
            return files
        stated = stated.select(["path", f"min.{column}", f"max.{column}"])
        outside = {
            unquote(path)
            for path, low, high in zip(*(c.to_pylist() for c in stated.columns), strict=True)
            if low is not None and (low >= end or high < start)
        }
        return [file for file in files if Path(file).name not in outside]

    def version(self, name: str) -> int:
        table = self._open(name)
        return table.version() if table else -1

    def delete(self, name: str, column: str, values: pa.Array) -> int:
        """Deletes by a join: a condition that lists many values overflows the library's stack."""
        with self._turn(name) as table:
            if table is None:
                return 0
            gone = pa.table({column: values.unique()})
            same = f'target."{column}" = source."{column}"'
            merge = table.merge(gone, same, source_alias="source", target_alias="target")
            return int(merge.when_matched_delete().execute()["num_target_rows_deleted"])

    def compact(self, name: str) -> None:
        with self._turn(name) as table:
            if table is not None:
                _compact(table)

    def _open(self, name: str) -> DeltaTable | None:
        """The latest version: the one opened before, unless a later commit is there."""
        known = self._opened.get(name)
        if known is not None and not self._commit(name, known.version() + 1).exists():
            return known
        try:
            self._opened[name] = DeltaTable(self._path(name))
        except TableNotFoundError:  # also where its creation was killed
            return None
        return self._opened[name]

    def _commit(self, name: str, version: int) -> Path:
        return self._folder / name / "_delta_log" / f"{version:020}.json"

    @contextmanager
    def _turn(self, name: str) -> Generator[DeltaTable | None]:
        """The table as it is, and nobody else changes it meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield self._open(name)
            except CommitFailedError as error:  # by someone who does not take turns
                raise WriteConflict(table=name, problem=str(error)) from error

    def _path(self, name: str) -> str:
        return str(self._folder / name)


def _compact(table: DeltaTable) -> None:
    table.optimize.compact(target_size=_LARGE)
    table.vacuum(retention_hours=_KEPT, dry_run=False, enforce_retention_duration=False)


def _number(table: DeltaTable | None, app: str) -> int:
    number: int | None = table.transaction_version(app) if table else None
    return -1 if number is None else number


def connect(folder: Path) -> Tables:
    """The tables of a folder, which need not exist yet."""
    return Tables(folder)
