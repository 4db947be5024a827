"""Durations, and windows: how far back an aggregate looks, and the step its start snaps to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, overload

from mainspring.errors import InvalidDeclaration, declared_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BEGINNING = -(2**63)
_LONGEST = 2**62  # leaves room to subtract a window from any time of an int64 without overflow


def days(n: float) -> timedelta:
    """A duration of `n` days.

    Example:
        >>> days(1) == hours(24)
        True
    """
    return timedelta(days=n)


def hours(n: float) -> timedelta:
    """A duration of `n` hours.

    Example:
        >>> hours(1) == minutes(60)
        True
    """
    return timedelta(hours=n)


def minutes(n: float) -> timedelta:
    """A duration of `n` minutes.

    Example:
        >>> minutes(1) == seconds(60)
        True
    """
    return timedelta(minutes=n)


def seconds(n: float) -> timedelta:
    """A duration of `n` seconds.

    Example:
        >>> seconds(0.5)
        datetime.timedelta(microseconds=500000)
    """
    return timedelta(seconds=n)


def microseconds(duration: timedelta, named: str = "duration") -> int:
    """A duration as the whole number of microseconds that times are counted in, exactly.

    Args:
        named: what a refusal calls it.

    Raises:
        InvalidDeclaration: a bare number, or anything else that is not a duration.

    Example:
        >>> microseconds(minutes(5))
        300000000
    """
    if not isinstance(duration, timedelta):
        remedy = f"say the unit, as in {named}=hours(1)"
        raise _invalid(named, f"{duration!r} is not a duration", remedy)
    return duration // timedelta(microseconds=1)


_UNITS = tuple(microseconds(unit) for unit in (days(1), hours(1), minutes(1), seconds(1)))
_HOPS = tuple(microseconds(hop) for hop in (days(1), hours(1), minutes(5), minutes(1)))


@dataclass(frozen=True, slots=True)
class Window:
    """The rows from a hop before time t, up to but without t; both lengths in microseconds.

    Hops are counted from the epoch, so that every key, request and process cuts time alike. `size`
    None means all history and has hop 0; hop 1 is the exact sliding window.

    Raises:
        InvalidDeclaration: the lengths cannot be a window.

    Example:
        >>> Window(size=60, hop=10).start(125)
        60
    """

    size: int | None
    hop: int

    def __post_init__(self) -> None:
        if self.size is None:
            if self.hop:
                raise _invalid("hop", "a window over all history has no start to snap", "drop hop=")
        elif not 0 < self.size <= _LONGEST:
            problem = f"{self.size} microseconds is not between 1 and {_LONGEST}"
            raise _invalid("window", problem, "leave window= out for all history")
        elif not 0 < self.hop <= self.size:
            problem = f"a hop of {self.hop} us is not between 1 us and the window, {self.size} us"
            raise _invalid("hop", problem, "shorten it, or write hop=None for the exact window")

    @classmethod
    def of(
        cls, size: timedelta | None, hop: timedelta | Literal["default"] | None = "default"
    ) -> Window:
        """The window of a declaration.

        The default hop is the largest of 1 minute, 5 minutes, 1 hour and 1 day that is at most a
        twelfth of the window, and exact when there is none; None means exact.

        Example:
            >>> Window.of(hours(1)) == Window(size=3_600_000_000, hop=300_000_000)
            True
            >>> Window.of(hours(1), hop=None).hop
            1
        """
        length = None if size is None else microseconds(size, "window")
        if hop is None or hop == "default":
            exact = int(length is not None)
            return cls(length, _default_hop(length) if hop else exact)
        return cls(length, microseconds(hop, "hop"))

    @overload
    def start(self, at: int) -> int: ...
    @overload
    def start(self, at: NDArray[np.int64]) -> NDArray[np.int64]: ...
    def start(self, at: int | NDArray[np.int64]) -> int | NDArray[np.int64]:
        """The first event time inside the window at time `at`; also for an int64 array of times.

        Example:
            >>> Window(size=60, hop=1).start(125), Window(size=60, hop=10).start(-1)
            (65, -70)
        """
        if self.size is None:
            return at * 0 + _BEGINNING
        return (at - self.size) // self.hop * self.hop

    def to_json(self) -> dict[str, int | None]:
        """The window for the plan, in microseconds."""
        return {"size_us": self.size, "hop_us": self.hop}

    def __repr__(self) -> str:
        """The window as a person says it.

        Example:
            >>> Window.of(hours(1))
            1h hop 5m
        """
        if self.size is None:
            return "all history"
        return _short(self.size) + (f" hop {_short(self.hop)}" if self.hop > 1 else "")


def _short(length: int) -> str:
    for unit, name in zip(_UNITS, "dhms", strict=True):
        if length % unit == 0:
            return f"{length // unit}{name}"
    return f"{length}us"


def _default_hop(size: int | None) -> int:
    if size is None:
        return 0
    return next((hop for hop in _HOPS if hop * 12 <= size), 1)


def _invalid(name: str, problem: str, remedy: str) -> InvalidDeclaration:
    return InvalidDeclaration(subject_name=name, problem=problem, at=declared_at(), remedy=remedy)
