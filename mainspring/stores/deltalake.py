"""Delta Lake tables in a folder: each version is a list of Parquet files, and a commit is all or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake


class Tables:
    """The tables of one folder, one subfolder each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(
        self,
        name: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        *,
        once: tuple[str, int],
    ) -> bool:
        """Appends rows in one commit, unless the same was committed before.

        Args:
            once: a name and a growing number that stand in the commit: the append is a no-op if the name is at this number already.

        Returns:
            Whether the rows were appended now.
        """
        app, number = once
        if self.committed(name, app) >= number:
            return False
        write_deltalake(
            str(self._folder / name),
            pa.RecordBatchReader.from_batches(schema, iter(batches)),
            mode="append",
            schema_mode="merge",
            commit_properties=CommitProperties(app_transactions=[Transaction(app, number)]),
        )
        return True

    def committed(self, name: str, app: str) -> int:
        """The last number that `append` committed under a name; -1 if none."""
        if not self.exists(name):
            return -1
        number = DeltaTable(str(self._folder / name)).transaction_version(app)
        return -1 if number is None else cast(int, number)

    def exists(self, name: str) -> bool:
        return (self._folder / name / "_delta_log").is_dir()

    def files(self, name: str) -> list[str]:
        """The Parquet files of the latest version; none for a table without rows."""
        return sorted(DeltaTable(str(self._folder / name)).file_uris()) if self.exists(name) else []

    def version(self, name: str) -> int:
        """The latest version; -1 for a table that was never written."""
        return DeltaTable(str(self._folder / name)).version() if self.exists(name) else -1

    def delete(self, name: str, predicate: str) -> None:
        """Deletes the rows that a SQL condition is true for, in one commit."""
        if self.exists(name):
            DeltaTable(str(self._folder / name)).delete(predicate)

    def compact(self, name: str) -> None:
        """Puts small files together, in one commit that changes no row."""
        if self.exists(name):
            DeltaTable(str(self._folder / name)).optimize.compact()


def connect(folder: Path) -> Tables:
    """The tables of a folder, which need not exist yet."""
    return Tables(folder)
