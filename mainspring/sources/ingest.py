"""Ingest: files of a source to its table, in one scan under the contract; bad rows are held."""

from __future__ import annotations

import glob
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from mainspring.clock import Clock
from mainspring.engines.base import Engine
from mainspring.errors import ContractViolation, DataFileMissing, FileChanged, UnreadableFile
from mainspring.sources.contract import Check, checks
from mainspring.sources.judged import Judged, judge_file
from mainspring.sources.mask import text
from mainspring.sources.repeats import tells_repeats
from mainspring.sources.source import Schema, Source
from mainspring.sources.table import Table
from mainspring.stores.base import TableStore


@dataclass(slots=True)
class Ingested:
    """What one ingest did.

    Attributes:
        source: the source's name.
        files: how many files were taken; those taken before are left.
        rows: how many rows were read from them.
        bad: how many of these went to quarantine.
        repeated: how many were left out, because the same row was there already.
        reasons: how often each reason was given.
    """

    source: str
    files: int = 0
    rows: int = 0
    bad: int = 0
    repeated: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])

    def add(self, judged: Judged) -> None:
        """Counts the rows of a file that was taken."""
        self.files += 1
        self.rows += judged.rows
        self.bad += judged.bad
        self.repeated += judged.repeated
        self.reasons.update(judged.by_reason())


def ingest(
    source: type[Source], folder: Path, store: TableStore, engine: Engine, clock: Clock
) -> Ingested:
    """Takes the rows of a source's files into its table; files that were taken before are left.

    The file that is taken is known by its name and its content. Its good rows are one commit, after
    one of its bad rows, so a kill at any moment leaves it taken or not taken. Where a column is
    unique, a changed file is taken too, and rows that are there already are left out (see
    `repeats.py`); without one, its old rows could not be told from new ones. Those of a change feed
    are told by when they arrived: it needs an `arrival_time()` for that.

    Memory holds a batch of rows, and the unique values. Each file needs room for its rows in the
    system's temporary folder while it is taken.

    Args:
        folder: what the source's URL is relative to.

    Raises:
        DataFileMissing, UnreadableFile: there is nothing to read.
        UnknownColumn, WrongType: the file cannot be read under the contract.
        ContractViolation: more bad rows than `bad_at_most` allows; nothing of the file is taken.
        FileChanged: a file has changed, and its old rows cannot be told from new ones.
        WriteConflict: another process took rows into the table meanwhile.

    Example:
        >>> from datetime import datetime
        >>> from mainspring.clock import SystemClock
        >>> from mainspring.engines.urls import connect_engine
        >>> from mainspring.sources.source import Column, event_time
        >>> from mainspring.stores.urls import connect_tables
        >>> class Click(Source, url="*.csv"):
        ...     ad: Column[int]
        ...     clicked_at: Column[datetime] = event_time()
        >>> with TemporaryDirectory() as name:
        ...     _ = Path(name, "1.csv").write_text("ad,clicked_at\\n7,2024-05-01\\nx,2024-05-01")
        ...     store = connect_tables(f"file://{name}/tables")
        ...     ingest(Click, Path(name), store, connect_engine(), SystemClock()).reasons
        Counter({'ad is no int': 1})
    """
    table, done = Table.of(store, source), Ingested(source.__schema__.id)
    for name in _files(source.__schema__.url, folder):
        file = _File.of(folder / name, name)
        if store.committed(table.name, file.identity) < 0:
            done.add(_take(file, table, engine, clock.now()))
    return done


@dataclass(frozen=True, slots=True)
class _File:
    """A data file: what it is known by, and what shows whether it is being written to."""

    path: Path
    name: str
    identity: str
    written: tuple[int, int]

    @classmethod
    def of(cls, path: Path, name: str) -> _File:
        written = _written(path)
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        return cls(path, name, f"file:{name}:{digest[:32]}", written)


def _written(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _files(url: str, folder: Path) -> list[str]:
    found = [n for n in glob.glob(url, root_dir=folder, recursive=True) if (folder / n).is_file()]
    if not found:
        raise DataFileMissing(path=str(folder / url))
    return sorted(found)


def _take(file: _File, table: Table, engine: Engine, now: int) -> Judged:
    version, place, held_place = (
        table.store.committed(name, app)
        for name, app in [
            (table.name, f"name:{file.name}"),
            (table.name, "next"),
            (table.quarantine, "next"),
        ]
    )
    if version >= 0 and not tells_repeats(table.schema):
        raise _changed(file, table.schema)
    first = max(place, held_place, 0)
    with TemporaryDirectory(prefix="mainspring-") as folder:
        judged = judge_file(file.path, table, Path(folder, "judged.parquet"), engine, first)
        if _written(file.path) != file.written:
            problem = "it was written to while it was read"
            raise UnreadableFile(path=str(file.path), problem=problem)
        _refuse_if_too_bad(judged)
        end = first + judged.rows
        _forget_killed(file, table, engine)
        if judged.bad:
            held = judged.held(now, file.name)
            table.hold(held, (file.identity, first), {"next": (held_place, end)})
        moves = {"next": (place, end), f"name:{file.name}": (version, version + 1)}
        table.append(judged.good(), (file.identity, 1), moves)
    return judged


def _changed(file: _File, schema: Schema) -> FileChanged:
    told = "say when each version arrived: ms.arrival_time()"
    remedy = told if schema.is_feed else "mark a column unique=True"
    return FileChanged(path=file.name, source=schema.id, remedy=remedy, at=schema.at)


def _forget_killed(file: _File, table: Table, engine: Engine) -> None:
    """Undoes the first of the two commits of an ingest that was killed before the second."""
    first = table.store.committed(table.quarantine, file.identity)
    if first >= 0:
        query = f"""SELECT held.offset FROM held
            WHERE file = {text(file.name)} AND held.offset >= {first}"""
        offsets = engine.select(query, held=table.quarantine_files)["offset"]
        table.store.delete(table.quarantine, "offset", offsets.combine_chunks())


def _refuse_if_too_bad(judged: Judged) -> None:
    for bit, check in enumerate(checks(judged.schema)):
        bad = sum(n for mask, n in judged.masks.items() if mask >> bit & 1)
        if bad > check.column.checks.bad_at_most * judged.rows:
            raise ContractViolation(
                source=judged.schema.id,
                rows=judged.rows,
                bad=bad,
                check=check.reason,
                allowed=check.column.checks.bad_at_most,
                first=_first(judged, check),
                at=check.column.at,
            )


def _first(judged: Judged, check: Check) -> str:
    """The first row that breaks a check, as far as a line goes."""
    for batch in judged.held(0, ""):
        for row in batch.to_pylist():
            if check.reason in row["reasons"]:
                shown = json.loads(row["row"])
                return " ".join(f"{k}={v!r}" for k, v in list(shown.items())[:3])
    return ""
