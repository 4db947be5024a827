"""LMDB: the embedded online store, a memory-mapped file that many processes read without locks."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import lmdb

from mainspring.errors import DiskFull

MAP_SIZE = 1 << 36  # address space, not disk


class OnlineFile:
    """One LMDB environment in a folder.

    Power loss may take the last transaction, and never half of one: the log has it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._env = lmdb.open(str(folder), map_size=MAP_SIZE, metasync=False, max_readers=512)
        self._env.reader_check()  # a killed reader would hold its snapshot for ever

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._env.begin() as snapshot:
            return [snapshot.get(key) for key in keys]

    def write(self, items: Mapping[bytes, bytes]) -> None:
        with self._begin() as transaction:
            transaction.cursor().putmulti(sorted(items.items()))

    def clear(self, items: Mapping[bytes, bytes]) -> None:
        with self._begin() as transaction:
            transaction.drop(self._env.open_db(txn=transaction), delete=False)
            transaction.cursor().putmulti(sorted(items.items()))

    def close(self) -> None:
        self._env.close()

    @contextmanager
    def _begin(self) -> Generator[lmdb.Transaction]:
        try:
            with self._env.begin(write=True) as transaction:
                yield transaction
        except (lmdb.MapFullError, lmdb.DiskError) as error:
            raise DiskFull(path=str(self._folder), reason=str(error)) from error


def connect(folder: Path) -> OnlineFile:
    """The online store of a folder, which need not exist yet."""
    return OnlineFile(folder)
