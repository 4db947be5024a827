"""What an engine must do: run one select over files and Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

Relation = pa.Table | Sequence[str]
"""What a query may name: an Arrow table, or the paths of Parquet files of one shape."""


class Engine(Protocol):
    """What computes over tables."""

    def select(self, query: str, **relations: Relation) -> pa.Table:
        """The result of one select; each relation is a name that the query may use."""
        ...

    def stream(self, query: str, **relations: Relation) -> Iterator[pa.RecordBatch]:
        """The result of one select in batches, in order, in bounded memory."""
        ...

    def describe(self, url: str) -> pa.Schema:
        """The columns of a file or a glob of files, as they are.

        Raises:
            DataFileMissing: there is no such file.
            UnreadableFile: it is not what its name says.
        """
        ...

    def scan(self, url: str) -> str:
        """The part of a query that stands for the rows of a file or glob, in the order of the file."""
        ...
