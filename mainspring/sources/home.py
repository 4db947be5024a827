"""The home of a system: the folder where its state lives, and the stores and the engine it uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mainspring.clock import AcceleratedClock, Clock, SharedClock, SystemClock
from mainspring.engines.base import Engine
from mainspring.engines.urls import connect_engine
from mainspring.sources.source import Source
from mainspring.sources.table import Table
from mainspring.stores.base import Metadata, OnlineStore, TableStore
from mainspring.stores.urls import connect_metadata, connect_online, connect_tables

CLOCK = "clock.json"


@dataclass(frozen=True, slots=True)
class Home:
    """What every part of a running system shares.

    Attributes:
        folder: where the state is: `tables`, `log`, `online`, `features`, `versions`,
            `metadata.sqlite`.
        data: the folder that the sources' URLs are relative to.
    """

    folder: Path
    data: Path
    engine: Engine
    tables: TableStore
    metadata: Metadata

    @classmethod
    def open(cls, folder: Path, data: Path, *, sync: bool = True) -> Home:
        """Opens a home, which need not exist yet.

        Args:
            sync: whether commits wait for the disk; a replay can be done again and need not.
        """
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return cls(
            folder,
            data.resolve(),
            connect_engine(),
            connect_tables(f"file://{folder / 'tables'}"),
            connect_metadata(f"sqlite:///{folder / 'metadata.sqlite'}", sync),
        )

    def table(self, source: type[Source]) -> Table:
        """The table of a source."""
        return Table.of(self.tables, source)

    def online(self) -> OnlineStore:
        """The online store."""
        return connect_online(f"lmdb://{self.folder / 'online'}")

    def clock(self) -> Clock:
        """The system's clock: the time of day, unless the home was given an accelerated one."""
        file = self.folder / CLOCK
        return SharedClock(file) if file.exists() else SystemClock()

    def accelerate(self, virtual: int, speed: float, after: float = 0.0) -> Clock:
        """Gives the system a clock that shows `virtual` now and soon runs `speed` times as fast.

        Every process of the system shares it, also those that run already with such a clock.
        """
        return SharedClock.write(
            self.folder / CLOCK, AcceleratedClock.starting(virtual, speed, after)
        )

    def path(self, name: str) -> Path:
        """A folder of the home."""
        return self.folder / name

    def close(self) -> None:
        """Lets go of the metadata store."""
        self.metadata.close()
