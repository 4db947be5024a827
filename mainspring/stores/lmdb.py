"""LMDB: the embedded online store, a memory-mapped file that many processes read without locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import lmdb

MAP_SIZE = 1 << 36  # address space, not disk


class OnlineFile:
    """One LMDB environment in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._env = lmdb.open(str(folder), map_size=MAP_SIZE, metasync=False, max_readers=512)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._env.begin() as snapshot:
            return [snapshot.get(key) for key in keys]

    def write(self, items: Mapping[bytes, bytes]) -> None:
        with self._env.begin(write=True) as transaction:
            for key, value in items.items():
                transaction.put(key, value)

    def close(self) -> None:
        self._env.close()


def connect(folder: Path) -> OnlineFile:
    """The online store of a folder, which need not exist yet."""
    return OnlineFile(folder)
