"""What an engine must do: run one select over files and Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

import pyarrow as pa

Relation: TypeAlias = pa.Table | Sequence[str]
"""What a query may name: an Arrow table, or the paths of Parquet files of one shape."""


class Engine(Protocol):
    """What computes over tables."""

    def select(self, query: str, **relations: Relation) -> pa.Table:
        """The result of one select; each relation is a name that the query may use."""
        ...

    def stream(
        self, query: str, *, reads: str = "", **relations: Relation
    ) -> Iterator[pa.RecordBatch]:
        """The result of one select in batches, in order, in bounded memory.

        Args:
            reads: the data file that the query scans, if it does.

        Raises:
            UnreadableFile: that file is damaged.
        """
        ...

    def describe(self, path: str) -> pa.Schema:
        """The columns of a data file, as they are.

        Raises:
            UnreadableFile: it is not what its name says.
        """
        ...

    def scan(self, path: str) -> str:
        """The part of a query that stands for the rows of a data file, in its order.

        Raises:
            UnreadableFile: it is not what its name says.
        """
        ...
