"""Folding: records of the log become rows of their sources' tables, exactly once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mainspring.sources.record import Numbered, rows_of
from mainspring.sources.source import Source
from mainspring.sources.table import Table
from mainspring.stores.base import TableStore

_APP = "log"


def fold(
    records: Sequence[Numbered],
    sources: Mapping[str, type[Source]],
    store: TableStore,
    fresh: Callable[[Sequence[Numbered]], Sequence[Numbered]],
) -> int:
    """Moves records of the log into the tables; gives how many rows were added.

    Each source's rows are one commit that carries the offset up to which the log is folded for it.
    So it may be killed between two sources, and called again with these records or with others
    that overlap them: what a table has is not added again. Records of sources that the system no
    longer has are left in the log.

    Args:
        records: in the order of the log, without a gap, from where the last fold ended or earlier.
        fresh: leaves out the rows whose unique key arrived before. It must say the same of a
            record whenever it is asked, as one that looks up the first offset of the key does.

    Raises:
        WriteConflict: another process folds.

    Example:
        >>> from datetime import datetime
        >>> from tempfile import TemporaryDirectory
        >>> from mainspring.sources.record import Record
        >>> from mainspring.sources.source import Column, event_time
        >>> from mainspring.stores.urls import connect_tables
        >>> class Click(Source, url="clicks.csv"):
        ...     ad: Column[int]
        ...     clicked_at: Column[datetime] = event_time()
        >>> log = [(0, Record("Click", 5, [7, 5])), (1, Record("Click", 6, [8, 6]))]
        >>> with TemporaryDirectory() as folder:
        ...     store = connect_tables(f"file://{folder}")
        ...     [fold(some, {"Click": Click}, store, fresh=list) for some in (log[:1], log, log)]
        [1, 1, 0]
    """
    if not records:
        return 0
    upto, kept = records[-1][0] + 1, fresh(records)
    return sum(
        _fold_one(kept, source, Table.of(store, source), upto) for source in sources.values()
    )


def _fold_one(records: Sequence[Numbered], source: type[Source], table: Table, upto: int) -> int:
    done = table.store.committed(table.name, _APP)
    rows = rows_of(source, [(offset, record) for offset, record in records if offset >= done])
    added = rows.num_rows > 0 and table.append(rows.to_batches(), (_APP, upto))
    return rows.num_rows if added else 0
