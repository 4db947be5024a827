"""What may become of a call in a child process, and how messages travel between the processes."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

DEADLINE = "its deadline"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the thing to compute was declared, so that its classes can be loaded elsewhere.

    Example:
        >>> Origin("flights.py:24")
        Origin(at='flights.py:24', module=None, file=None)
    """

    at: str
    module: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """The call returned a value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The call raised: class, message, end of the traceback; the error itself if it is ours."""

    error: str
    message: str
    trace: str
    ours: Exception | None = None


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The call met its memory limit."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker is gone without an answer: by its deadline, a signal, or an exit."""

    by: str


Outcome = Returned | Raised | OutOfMemory | Ended


def send(line: socket.socket, *parts: bytes | memoryview) -> None:
    """Write all parts; where the other end is gone, the next read says so."""
    try:
        for part in parts:
            line.sendall(part)
    except BrokenPipeError:
        return


def receive(line: socket.socket, length: int) -> bytes:
    """The next bytes, fewer only where the stream ends."""
    data = bytearray(length)
    view, got = memoryview(data), 0
    while got < length and (count := line.recv_into(view[got:])):
        got += count
    return bytes(view[:got])


def receive_all(line: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    data = bytearray()
    while chunk := line.recv(1 << 20):
        data += chunk
    return bytes(data)
