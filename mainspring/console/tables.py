"""What the console knows from the tables: answers, rows and quarantine, counted once per file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mainspring.serving.endpoint import Endpoint
from mainspring.serving.prediction_log import PredictionLog
from mainspring.sources.home import Home
from mainspring.sources.source import Source

T = TypeVar("T")
HELD = 12
"""How many of the rows in quarantine are shown."""


@dataclass(frozen=True, slots=True)
class Answered:
    """How many requests an endpoint answered, how many of them with the fallback, and when last."""

    requests: int = 0
    fallbacks: int = 0
    last: int = 0

    def __add__(self, other: Answered) -> Answered:
        return Answered(
            self.requests + other.requests,
            self.fallbacks + other.fallbacks,
            max(self.last, other.last),
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A row in quarantine: when and where it came, why it is held, and the row as it was."""

    at: int
    file: str
    reasons: tuple[str, ...]
    row: str


@dataclass(frozen=True, slots=True)
class Stock:
    """What is there of a source: good rows and when they happened; held rows and why."""

    rows: int = 0
    first: int | None = None
    last: int | None = None
    held: int = 0
    reasons: tuple[tuple[str, int], ...] = ()
    newest: tuple[Held, ...] = ()


class Tables:
    """Counts over a home's tables, kept by file: a file never changes, so its count stays true."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._answered: dict[str, tuple[frozenset[str], Answered]] = {}
        self._counted: dict[str, tuple[tuple[str, ...], Any]] = {}

    def answered(self, endpoint: Endpoint) -> Answered:
        """The answers of an endpoint so far; only files that were not seen before are read."""
        log = PredictionLog(endpoint, self._home.tables, self._home.engine)
        files = frozenset(self._home.tables.files(log.table))
        with self._lock:
            seen, so_far = self._answered.get(endpoint.name, (frozenset[str](), Answered()))
            if not seen <= files:  # compacted: other files hold the same answers
                seen, so_far = frozenset[str](), Answered()
            if fresh := sorted(files - seen):
                so_far += self._count(fresh)
            self._answered[endpoint.name] = files, so_far
        return so_far

    def _count(self, files: Sequence[str]) -> Answered:
        query = """SELECT count(*) AS requests, count(*) FILTER (role = 'fallback') AS fallbacks,
                   coalesce(max("__at"), 0) AS last FROM log"""
        return Answered(**self._home.engine.select(query, log=files).to_pylist()[0])

    def stock(self, source: type[Source]) -> Stock:
        """What is there of a source."""
        table = self._home.table(source)
        name, event = source.__schema__.id, source.__schema__.event.name
        good = self._kept(name, table.files, lambda files: self._rows(files, event))
        held = self._kept(f"{name} held", table.quarantine_files, self._quarantine)
        return Stock(*(good or (0, None, None)), *(held or (0, (), ())))

    def _kept(
        self, name: str, files: Sequence[str], count: Callable[[Sequence[str]], T]
    ) -> T | None:
        with self._lock:
            known = self._counted.get(name)
            if known is None or known[0] != tuple(files):
                known = self._counted[name] = tuple(files), count(files) if files else None
        found: T | None = known[1]
        return found

    def _rows(self, files: Sequence[str], event: str) -> tuple[int, int | None, int | None]:
        quoted = '"' + event.replace('"', '""') + '"'
        times = f"epoch_us(min({quoted})) AS first, epoch_us(max({quoted})) AS last"
        query = f"SELECT count(*) AS n, {times} FROM rows"
        row = self._home.engine.select(query, rows=files).to_pylist()[0]
        return row["n"], row["first"], row["last"]

    def _quarantine(
        self, files: Sequence[str]
    ) -> tuple[int, tuple[tuple[str, int], ...], tuple[Held, ...]]:
        select = self._home.engine.select
        total = int(select("SELECT count(*) AS n FROM held", held=files)["n"][0].as_py())
        by_reason = """SELECT reason, count(*) AS n
                       FROM (SELECT unnest(reasons) AS reason FROM held)
                       GROUP BY reason ORDER BY n DESC, reason LIMIT 50"""
        reasons = tuple((r["reason"], r["n"]) for r in select(by_reason, held=files).to_pylist())
        newest = f'SELECT * FROM held ORDER BY "at" DESC, "offset" DESC LIMIT {HELD}'
        rows = select(newest, held=files).to_pylist()
        shown = (Held(r["at"], r["file"], tuple(r["reasons"]), r["row"]) for r in rows)
        return total, reasons, tuple(shown)
