"""The one clock: nothing else in Mainspring reads wall time.

Times are integers: microseconds since 1970-01-01 UTC. `SystemClock` is the time of day,
`VirtualClock` stands still until it is moved (replay, tests), `AcceleratedClock` runs faster than
the world from an anchor that several processes share.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from mainspring.errors import InvalidTime

SECOND = 1_000_000
NEVER = -(2**63)  # the NULL of times


class Clock(Protocol):
    """What tells the time, in microseconds since 1970-01-01 UTC."""

    @property
    def speed(self) -> float:
        """How many of its seconds pass in one real second."""
        ...

    def now(self) -> int: ...

    def wait(self, seconds: float) -> None:
        """Sleeps for real seconds; a virtual clock returns at once."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The time of day.

    Example:
        >>> SystemClock().now() > parse_time("2024-01-01")
        True
    """

    @property
    def speed(self) -> float:
        return 1.0

    def now(self) -> int:
        return time.time_ns() // 1000

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(slots=True)
class VirtualClock:
    """A clock that stands still until it is moved, and never goes back.

    Example:
        >>> clock = VirtualClock(parse_time("2013-01-01"))
        >>> clock.move_to(parse_time("2013-01-02"))
        >>> format_time(clock.now())
        '2013-01-02 00:00:00'
    """

    at: int

    @property
    def speed(self) -> float:
        return 0.0

    def now(self) -> int:
        return self.at

    def move_to(self, at: int) -> None:
        """Moves to `at`; earlier times are ignored, as time does not go back."""
        self.at = max(self.at, at)

    def wait(self, seconds: float) -> None:
        del seconds


@dataclass(frozen=True, slots=True)
class AcceleratedClock:
    """A clock that shows `virtual` until the time of day is `wall`, and from then on runs `speed`
    times as fast.

    The three numbers are the whole state, so processes that share them share the clock, also across
    restarts.

    Example:
        >>> clock = AcceleratedClock.starting(parse_time("2013-10-01"), speed=60, after=10)
        >>> format_time(clock.now())
        '2013-10-01 00:00:00'
    """

    virtual: int
    wall: int
    speed: float

    @classmethod
    def starting(cls, virtual: int, speed: float, after: float = 0.0) -> AcceleratedClock:
        """A clock that shows `virtual` now and begins to run `after` real seconds."""
        return cls(virtual, SystemClock().now() + int(after * SECOND), speed)

    def now(self) -> int:
        return self.virtual + int(max(SystemClock().now() - self.wall, 0) * self.speed)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class SharedClock:
    """The accelerated clock that a file describes: every process that reads the file shares it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     still = AcceleratedClock.starting(0, speed=60, after=10)
        ...     clock = SharedClock.write(Path(folder) / "clock.json", still)
        ...     clock.now(), clock.speed
        (0, 60)
    """

    def __init__(self, path: Path) -> None:
        self._path, self._stamp = path, 0
        self._clock = self._current()

    @classmethod
    def write(cls, path: Path, clock: AcceleratedClock) -> SharedClock:
        """Puts a clock in the file; whoever reads it has that one from now on."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(clock)))
        partial.rename(path)
        return cls(path)

    @property
    def speed(self) -> float:
        return self._current().speed

    def now(self) -> int:
        return self._current().now()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def _current(self) -> AcceleratedClock:
        stamp = self._path.stat().st_mtime_ns
        if stamp != self._stamp:
            self._clock = AcceleratedClock(**json.loads(self._path.read_text()))
            self._stamp = stamp
        return self._clock


def parse_time(text: str | datetime) -> int:
    """Microseconds of an ISO date or time; without a zone it is UTC.

    Raises:
        InvalidTime: the text is no ISO date or time.

    Example:
        >>> parse_time("1970-01-01T00:00:01")
        1000000
    """
    try:
        moment = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidTime(text=str(text)) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(microseconds=1)


def format_time(at: int) -> str:
    """`at` for a person, in UTC to the second.

    Example:
        >>> format_time(0)
        '1970-01-01 00:00:00'
    """
    return as_datetime(at).strftime("%Y-%m-%d %H:%M:%S")


def as_datetime(at: int) -> datetime:
    """`at` as an aware `datetime` in UTC."""
    return EPOCH + timedelta(microseconds=at)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
