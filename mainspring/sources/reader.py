"""Reading the log forward, from any process, while another one appends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from mainspring.errors import LogCorrupt, LogDropped
from mainspring.sources.segment import (
    HEADER,
    frame_follows,
    segment_bases,
    segment_path,
    whole_frames,
)

_CHUNK = 1 << 20


class Reader:
    """A place in a log, read forward by any process while another one appends.

    It keeps its position, so following the end costs what is new. It stops before a frame that is
    still being written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from mainspring.sources.segment import frames
        >>> with TemporaryDirectory() as folder, Reader(Path(folder), start=1) as tail:
        ...     _ = segment_path(Path(folder), 0).write_bytes(frames([b"a", b"b"], 0))
        ...     tail.read(10), tail.offset, tail.read(10)
        ([(1, b'b')], 2, [])
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        self.folder = folder
        self.offset = start  # the next one to hand out
        self._descriptor = -1
        self._base = self._at = 0  # the segment, and the offset of the next frame in it
        self._chunk = b""
        self._chunk_at = self._cut = 0  # where in the file the chunk begins; how much of it is used

    def read(self, limit: int) -> list[tuple[int, bytes]]:
        """At most `limit` records and their offsets; empty when there is nothing new.

        Raises:
            LogDropped: the next record is no longer kept.
            LogCorrupt: a frame is damaged and others follow it.
        """
        records: list[tuple[int, bytes]] = []
        while len(records) < limit and (self._take(records, limit) or self._advance()):
            pass
        return records

    def close(self) -> None:
        """Closes the segment; reading on opens it again and searches."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._chunk, self._cut = -1, b"", 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self, records: list[tuple[int, bytes]], limit: int) -> bool:
        before = self._at
        for payload, end in whole_frames(self._chunk, self._cut, self._at):
            if self._at >= self.offset:
                records.append((self._at, payload))
                self.offset = self._at + 1
            self._at += 1
            self._cut = end
            if len(records) == limit:
                break
        return self._at > before

    def _advance(self) -> bool:
        """Reads on, in this segment or the next; False at the end of what is whole."""
        # Before the bytes: a segment that has a successor grows no more.
        bases = segment_bases(self.folder)
        if self._descriptor < 0:
            return self._open(bases)
        self._chunk_at += self._cut
        self._chunk, self._cut = self._load(), 0
        if any(True for _ in whole_frames(self._chunk, 0, self._at)):
            return True
        later = [base for base in bases if base > self._base]
        if not self._chunk and later[:1] == [self._at]:
            self.close()
            return True
        if later or frame_follows(self._rest(), 0, self._at):
            path = segment_path(self.folder, self._base)
            raise LogCorrupt(path=str(path), position=self._chunk_at, offset=self._at)
        return False

    def _open(self, bases: list[int]) -> bool:
        if not bases:
            return False
        base = max((base for base in bases if base <= self.offset), default=-1)
        if base < 0:
            raise LogDropped(folder=str(self.folder), offset=self.offset, start=bases[0])
        self._descriptor = os.open(segment_path(self.folder, base), os.O_RDONLY | os.O_CLOEXEC)
        self._base = self._at = base
        self._chunk_at = 0
        return True

    def _load(self) -> bytes:
        chunk = os.pread(self._descriptor, _CHUNK, self._chunk_at)
        is_cut = len(chunk) == _CHUNK and HEADER.size + HEADER.unpack_from(chunk)[0] > _CHUNK
        return self._rest() if is_cut else chunk

    def _rest(self) -> bytes:
        size = os.fstat(self._descriptor).st_size
        return os.pread(self._descriptor, size - self._chunk_at, self._chunk_at)
