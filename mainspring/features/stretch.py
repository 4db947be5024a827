"""Stretches: a folder with the requests of one source, and what was computed for them.

`0_10.parquet` has the requests with `0 <= time < 10`; `0_10.<group>.parquet` has features that were
computed together for all of them, in the same order. It names the content of the requests that it
belongs to, so one without its requests is never read.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mainspring.features.kept import Kept, find, keep
from mainspring.graph import digest

ID, AT = "__id", "__at"

_NAME = re.compile(r"(-?\d+)_(-?\d+)(\.[0-9a-f]+)?\.parquet")


@dataclass(frozen=True, slots=True)
class Stretch:
    """The requests with `low <= time < high`, and what was computed for them.

    Attributes:
        values: the files with features, by the key of each feature.
    """

    low: int
    high: int
    requests: Kept
    values: Mapping[str, Kept]

    def missing(self, keys: Mapping[str, str]) -> tuple[str, ...]:
        """The names of the features that are not there.

        Args:
            keys: the key of each feature by its name.
        """
        return tuple(name for name, key in keys.items() if key not in self.values)

    def between(self, start: int, end: int, keys: Mapping[str, str]) -> pa.Table:
        """The requests with `start <= time < end` and their features, in order of time."""
        first, last = self._positions(start, end)
        tables = [self.requests.columns((ID, AT), first, last)]
        for file in {file.path: file for file in (self.values[k] for k in keys.values())}.values():
            names = [name for name, key in keys.items() if self.values[key] is file]
            tables.append(file.columns(names, first, last))
        names = [name for table in tables for name in table.column_names]
        whole = pa.table([column for table in tables for column in table.columns], names)
        return whole.select([ID, AT, *keys])

    def _positions(self, start: int, end: int) -> tuple[int, int]:
        if start <= self.low and self.high <= end:
            return 0, self.requests.rows
        at = np.asarray(self.requests.columns([AT])[AT])
        first, last = np.searchsorted(at, (start, end))
        return int(first), int(last)


@dataclass(frozen=True, slots=True)
class Folder:
    """The stretches of one kind of requests, as files.

    Args:
        path: the folder, which need not exist; its name says which requests these are.
    """

    path: Path

    def stretches(self, start: int, end: int) -> list[Stretch]:
        """The stretches that a time touches, in order; what is not whole is left out."""
        found: list[Stretch] = []
        for (low, high), files in sorted(self._files(start, end).items()):
            requests = find(self.path / f"{low}_{high}.parquet")
            if requests is None or not self._is_mine(requests, low, high):
                continue
            if found and low < found[-1].high:
                continue
            kept = (find(file) for file in sorted(files) if file != requests.path)
            mine = [k for k in kept if k and k.about.get("requests") == requests.hash]
            values = {key: k for k in mine for key in k.about["keys"].values()}
            found.append(Stretch(low, high, requests, values))
        return found

    def _is_mine(self, requests: Kept, low: int, high: int) -> bool:
        written = (requests.about.get(name) for name in ("of", "from", "to"))
        return (*written,) == (self.path.name, low, high)

    def clean(self, start: int, end: int) -> None:
        """Removes what a kill left half written, and the files that `stretches` leaves out."""
        found = self.stretches(start, end)
        whole = {k.path for s in found for k in (s.requests, *s.values.values())}
        for files in self._files(start, end).values():
            for path in files - whole:
                path.unlink()
        for path in self.path.glob("*.partial"):
            path.unlink()

    def keep_requests(self, low: int, high: int, requests: pa.Table) -> None:
        """Keeps which requests a stretch has."""
        about = {"of": self.path.name, "from": low, "to": high}
        keep(self.path / f"{low}_{high}.parquet", requests, about)

    def keep_values(
        self,
        stretch: Stretch,
        values: pa.Table,
        keys: Mapping[str, str],
        definitions: Mapping[str, Any],
    ) -> None:
        """Keeps features of the requests of a stretch, one row each.

        Args:
            keys: the key of each feature by its name; its definition is written down too.
        """
        name = f"{stretch.low}_{stretch.high}.{digest(sorted(keys.values()))}.parquet"
        defined = {name: definitions[name] for name in keys}
        about = {"requests": stretch.requests.hash, "keys": dict(keys), "definitions": defined}
        keep(self.path / name, values, {**about, "from": stretch.low, "to": stretch.high})

    @contextmanager
    def alone(self) -> Generator[None]:
        """One at a time, of all processes and threads; the lock falls with its holder."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _files(self, start: int, end: int) -> dict[tuple[int, int], set[Path]]:
        """The files of the stretches that a time touches, by their start and end."""
        found: dict[tuple[int, int], set[Path]] = {}
        for name in os.listdir(self.path) if self.path.exists() else ():
            if named := _NAME.fullmatch(name):
                low, high = int(named[1]), int(named[2])
                if low < end and high > start:
                    found.setdefault((low, high), set()).add(self.path / name)
        return found


def gaps(stretches: Iterable[Stretch], start: int, end: int) -> list[tuple[int, int]]:
    """What of a time no stretch covers; stretches are in order.

    Example:
        >>> none = Kept(Path("none"), {})
        >>> gaps([Stretch(2, 4, none, {}), Stretch(6, 9, none, {})], 0, 8)
        [(0, 2), (4, 6)]
    """
    found: list[tuple[int, int]] = []
    for stretch in stretches:
        if stretch.low > start and start < end:
            found.append((start, min(stretch.low, end)))
        start = max(start, stretch.high)
    return [*found, (start, end)] if start < end else found
