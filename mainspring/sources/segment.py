"""The files of the log: segments named by their first offset, each a run of frames.

A frame is length, offset, CRC of offset and payload, payload. It is whole or it is not there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from zlib import crc32

HEADER = Struct("<IQI")
_OFFSET = Struct("<Q")


def segment_path(folder: Path, base: int) -> Path:
    """The file of the segment whose first offset is `base`.

    Example:
        >>> segment_path(Path("log"), 12).name
        '00000000000000000012.log'
    """
    return folder / f"{base:020}.log"


def segment_bases(folder: Path) -> list[int]:
    """The first offsets of the segments of a folder, in order."""
    return sorted(int(path.stem) for path in folder.glob("*.log"))


def open_segment(path: Path) -> int:
    """Opens a segment to append; that the file exists is on the disk before anything is in it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return descriptor


def frames(payloads: Sequence[bytes], offset: int) -> bytes:
    """The frames of payloads with the offsets from `offset` on.

    Example:
        >>> [payload for payload, end in whole_frames(frames([b"a", b"b"], 7), 0, 7)]
        [b'a', b'b']
    """
    parts: list[bytes] = []
    for at, payload in enumerate(payloads, offset):
        parts += HEADER.pack(len(payload), at, crc32(payload, crc32(_OFFSET.pack(at)))), payload
    return b"".join(parts)


def whole_frames(data: bytes, at: int, offset: int) -> Iterator[tuple[bytes, int]]:
    """The payload and the end position of each frame, up to the first that is not whole."""
    while (start := at + HEADER.size) <= len(data):
        length, found, checksum = HEADER.unpack_from(data, at)
        end = start + length
        if found != offset or end > len(data):
            return
        payload = data[start:end]
        if crc32(payload, crc32(data[at + 4 : at + 12])) != checksum:
            return
        yield payload, end
        at, offset = end, offset + 1


def frame_follows(data: bytes, at: int, offset: int) -> bool:
    """Whether a whole frame later than `offset` comes after `at`: if so, `at` is no torn end."""
    last = offset + (len(data) - at) // HEADER.size
    shared = {_OFFSET.pack(later)[3:] for later in (offset + 1, last)}  # of all candidates
    for match in re.finditer(b"(?=" + b"|".join(map(re.escape, shared)) + b")", data[at:]):
        start = at + match.start() - 7
        if start <= at or start + HEADER.size > len(data):
            continue
        found = HEADER.unpack_from(data, start)[1]
        if offset < found <= last and any(True for _ in whole_frames(data, start, found)):
            return True
    return False
