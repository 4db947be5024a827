"""Kept columns: a Parquet file that says what it holds, how it was made, and whether it is whole.

Its metadata has a description as JSON (`mainspring`), with the content hash of the columns, and the
SHA-256 of that description (`mainspring.sha256`). The content hash covers the values, not how they
are laid out, so the same rows have the same one in any file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FORMAT = 1
ABOUT, SEAL = b"mainspring", b"mainspring.sha256"
GROUP = 1 << 13
"""Rows in one row group of a file: what a read of a few rows decodes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A whole file of columns.

    Attributes:
        about: the description it was written with, without the definitions, and `format`, `rows`
            and `hash`.
    """

    path: Path
    about: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.about["rows"])

    @property
    def hash(self) -> str:
        """The hash of its content."""
        return str(self.about["hash"])

    def columns(self, names: Iterable[str], first: int = 0, end: int | None = None) -> pa.Table:
        """Columns of the rows from one position to another."""
        wanted, end = list(names), self.rows if end is None else end
        with pq.ParquetFile(self.path) as file:
            low, high = first // GROUP, -(-end // GROUP)
            groups = list(range(low, high)) if end > first else []
            table = file.read_row_groups(groups, columns=wanted, use_threads=False)
        rows = table.select(wanted).slice(first - low * GROUP, end - first)
        return rows.replace_schema_metadata(None)


def keep(path: Path, table: pa.Table, about: Mapping[str, Any]) -> None:
    """Writes a file that is there whole or not at all."""
    hashed = content_hash(table.schema, table.to_batches())
    text = _text({**about, "format": FORMAT, "rows": table.num_rows, "hash": hashed})
    sealed = table.replace_schema_metadata({ABOUT: text, SEAL: _sha256(text)})
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        pq.write_table(sealed, file, row_group_size=GROUP)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def find(path: Path) -> Kept | None:
    """The file at a path if it is one of ours and whole: its content is compared with its hash.

    A file is looked through once in a process, as long as it is not replaced.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "numbers.parquet"
        ...     keep(path, pa.table({"n": [1.0, None, 3.0]}), {"why": "an example"})
        ...     found = find(path)
        ...     _ = path.write_bytes(path.read_bytes()[:-1])
        ...     found.rows, found.about["why"], find(path)
        (3, 'an example', None)
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return _looked_through(path, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1 << 14)
def _looked_through(path: Path, *_: int) -> Kept | None:
    try:
        with pq.ParquetFile(path) as file:
            schema, shape = file.schema_arrow, file.metadata
            text = (schema.metadata or {}).get(ABOUT, b"")
            if (schema.metadata or {}).get(SEAL) != _sha256(text):
                return None
            groups = [shape.row_group(n).num_rows for n in range(shape.num_row_groups - 1)]
            hashed = content_hash(schema, file.iter_batches(GROUP, use_threads=False))
    except (pa.ArrowException, OSError, ValueError):
        return None
    about = json.loads(text)
    about.pop("definitions", None)  # for people; long
    said = about["format"], about["rows"], about["hash"]
    whole = said == (FORMAT, shape.num_rows, hashed) and {*groups} <= {GROUP}
    return Kept(path, about) if whole else None


def content_hash(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    """The hash of rows: the same however they are cut into batches.

    Example:
        >>> whole = pa.table({"n": [1.0, None, 3.0], "text": ["a", "bc", None]})
        >>> cut = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
        >>> hashes = {content_hash(t.schema, t.to_batches()) for t in (whole, cut, whole.slice(1))}
        >>> len(hashes)
        2
    """
    digests = [[hashlib.sha256() for _ in range(3)] for _ in schema]
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        for column, parts in zip(batch.columns, digests, strict=True):
            for digest, part in zip(parts, _bytes(column), strict=False):
                digest.update(part)
    shapes = [[field.name, str(field.type)] for field in schema]
    return _sha256(_text([rows, shapes, [[d.hexdigest() for d in ds] for ds in digests]])).decode()


def _bytes(column: pa.Array) -> Iterator[Any]:
    """Which values are known, and the values; of text the lengths and the text."""
    yield np.asarray(column.is_valid())
    if pa.types.is_string(column.type):
        known = column.fill_null("")
        yield np.asarray(pc.binary_length(known))
        yield _characters(known)
    elif pa.types.is_boolean(column.type):
        yield np.asarray(column.fill_null(False))
    else:
        numbers = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        yield np.asarray(numbers.fill_null(0))


def _characters(texts: pa.Array) -> memoryview:
    """All texts, one after the other."""
    _, places, data = texts.buffers()
    if data is None or not len(texts):
        return memoryview(b"")
    at = np.frombuffer(places, np.int32, len(texts) + 1, offset=4 * texts.offset)
    return memoryview(data)[int(at[0]) : int(at[-1])]


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
