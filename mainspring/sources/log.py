"""The one log: what was acknowledged is here, in order, whatever was killed.

Records have the offsets 0, 1, 2, … without a gap. Opening after a crash cuts off the frame that was
being written and nothing else: records that nobody was told of may survive, all others do.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self
from weakref import WeakSet

from mainspring.errors import DiskFull, LogClosed, LogCorrupt, LogLocked
from mainspring.sources.reader import Reader
from mainspring.sources.segment import (
    frame_follows,
    frames,
    open_segment,
    segment_bases,
    segment_path,
    whole_frames,
)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Tail(NamedTuple):
    """Where the next frame goes. One tuple, so that a signal finds all of it old or all new."""

    descriptor: int
    end: int
    size: int


class Log:
    """The writer of an append-only log; one process at a time has it.

    A record is safe from kill -9 once `append` returns, and from power loss once it was synced
    there or `flush` returned. Threads may append together: one fsync serves all who wait for it.

    Args:
        segment_bytes: a segment that has grown this large is followed by a new one.

    Raises:
        LogLocked: another process, or another `Log` of this one, writes here.
        LogCorrupt: the last segment is damaged before its end. (A torn end is cut off:
            `torn_bytes` of it.)

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Log(Path(folder)) as log:
        ...     log.append([b"a", b"b"], sync=True), log.end, log.read(1, limit=10)
        (0, 2, [(1, b'b')])
    """

    def __init__(self, folder: Path, segment_bytes: int = 64 << 20) -> None:
        self.folder = folder
        self.torn_bytes = 0
        self._segment_bytes = segment_bytes
        self._writing, self._syncing, self._reading = (threading.Lock() for _ in range(3))
        self._reader: Reader | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        try:
            self._tail = self._recovered()
        except BaseException:
            os.close(self._lock)
            raise
        _OPEN.add(self)

    @property
    def start(self) -> int:
        """The first offset that is still kept."""
        return segment_bases(self.folder)[0]

    @property
    def end(self) -> int:
        """The offset that the next record gets."""
        return self._tail.end

    @property
    def synced(self) -> int:
        """The offset below which power loss takes nothing; derive for keeps from there."""
        return self._synced

    def append(self, payloads: Sequence[bytes], sync: bool) -> int:
        """Adds records, all or (when it raises `DiskFull`) none; gives the offset of the first.

        Raises:
            DiskFull: there was no room; the log is as it was.
        """
        with self._writing:
            first = self._open_tail().end
            if payloads:
                self._write(frames(payloads, first), first + len(payloads))
        if sync:
            self._sync(first + len(payloads))
        return first

    def flush(self) -> None:
        """Waits until everything appended so far is on the disk."""
        self._sync(self.end)

    def read(self, from_offset: int, limit: int) -> list[tuple[int, bytes]]:
        """At most `limit` records from an offset on; going on from the last call needs no search.

        Raises:
            LogDropped: that offset is no longer kept.
            LogCorrupt: a segment is damaged.
        """
        with self._reading:
            if self._reader is None or self._reader.offset != from_offset:
                self._leave_reader()
                self._reader = Reader(self.folder, from_offset)
            return self._reader.read(limit)

    def drop_before(self, offset: int) -> None:
        """Deletes the segments whose every record is below `offset`; the last one always stays."""
        with self._writing:
            for base, following in pairwise(segment_bases(self.folder)):
                if following <= offset:
                    segment_path(self.folder, base).unlink()

    def close(self) -> None:
        """Flushes, and lets another writer in."""
        if self._tail.descriptor >= 0:
            self.flush()
            self._abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _recovered(self) -> _Tail:
        base = max(segment_bases(self.folder), default=0)
        path = segment_path(self.folder, base)
        descriptor = open_segment(path)
        data = path.read_bytes()
        ends = [0, *(end for _, end in whole_frames(data, 0, base))]
        tail = _Tail(descriptor, base + len(ends) - 1, ends[-1])
        self.torn_bytes = len(data) - tail.size
        if self.torn_bytes and frame_follows(data, tail.size, tail.end):
            os.close(descriptor)
            raise LogCorrupt(path=str(path), position=tail.size, offset=tail.end)
        os.ftruncate(descriptor, tail.size)
        self._synced = base  # a segment is synced before it gets a successor
        return tail

    def _open_tail(self) -> _Tail:
        if self._tail.descriptor < 0:
            raise LogClosed(folder=str(self.folder))
        return self._tail

    def _write(self, data: bytes, end: int) -> None:
        try:
            if self._tail.size >= self._segment_bytes:
                self._roll()
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._tail.descriptor, rest) :]
            self._tail = self._tail._replace(end=end, size=self._tail.size + len(data))
        except BaseException as error:
            os.ftruncate(self._tail.descriptor, self._tail.size)
            if isinstance(error, OSError) and error.errno in _FULL:
                raise DiskFull(path=str(self.folder), reason=str(error)) from error
            raise

    def _roll(self) -> None:
        old = self._tail
        os.fsync(old.descriptor)
        self._synced = old.end
        self._tail = _Tail(open_segment(segment_path(self.folder, old.end)), old.end, 0)
        os.close(old.descriptor)

    def _sync(self, end: int) -> None:
        with self._syncing:
            if self._synced >= end:
                return
            with self._writing:
                tail = self._open_tail()
                descriptor = os.dup(tail.descriptor)  # a roll may close the other one meanwhile
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._synced = max(self._synced, tail.end)

    def _leave_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _abandon(self) -> None:
        """Closes the files without unlocking: a parent process may hold the lock as well."""
        _OPEN.discard(self)
        self._leave_reader()
        descriptor = self._tail.descriptor
        self._tail = self._tail._replace(descriptor=-1)
        os.close(descriptor)
        os.close(self._lock)


def _lock(folder: Path) -> int:
    """The lock of the only writer; it falls with the process, however that ends."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        process = os.read(descriptor, 20).decode() or "unknown"
        os.close(descriptor)
        raise LogLocked(folder=str(folder), process=process) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


_OPEN: WeakSet[Log] = WeakSet()


def _let_go_in_child() -> None:
    for log in list(_OPEN):
        log._abandon()  # pyright: ignore[reportPrivateUsage]


# A forked child would keep the lock of a killed parent, and could write beside a living one.
os.register_at_fork(after_in_child=_let_go_in_child)
