"""A lane: the threads that do the work of one endpoint or source, and the bound on what waits."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from mainspring.errors import Overloaded

T = TypeVar("T")

LIMIT = 64
"""Requests in flight per lane, at most; the next one is refused at once."""

_Settle = Callable[["asyncio.Future[Any]", Any], None]


class Lane:
    """Threads of its own, so that a slow endpoint delays no other; they start when needed.

    Beyond its limit it refuses. What nobody waits for any more is not begun, so the threads that
    hang in a function of the user are all that it can cost.

    Args:
        name: the endpoint or source.
        threads: how many requests are worked on at once; the others wait in order.

    Example:
        >>> async def doubled() -> int:
        ...     return await Lane("ctr", threads=1).submit(lambda: 2 * 21)
        >>> asyncio.run(doubled())
        42
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.in_flight = 0
        self._threads, self._started = threads, 0
        self._jobs: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._waiting = threading.Semaphore(0)  # one for each job, also for those given up

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What `work` will give, computed in a thread of the lane. The loop's thread calls this.

        Raises:
            Overloaded: as many requests as may are in flight.
        """
        if self.in_flight >= LIMIT:
            raise Overloaded(name=self.name, waiting=self.in_flight)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(self._ended)
        self.in_flight += 1
        self._jobs.append((work, future))
        if self.in_flight > self._started < self._threads:
            self._start()
        self._waiting.release()
        return future

    def _start(self) -> None:
        self._started += 1
        name = f"{self.name}-{self._started}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self.in_flight -= 1
        for job in [j for j in list(self._jobs) if j[1] is future]:  # it was given up
            with suppress(ValueError):  # a thread has begun it meanwhile
                self._jobs.remove(job)

    def _work(self) -> None:
        while True:
            self._waiting.acquire()
            try:
                work, future = self._jobs.popleft()
            except IndexError:  # it was given up
                continue
            try:
                _call(future, _set_result, work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the future is awaited
                _call(future, _set_error, error)
            del work, future


def _call(future: asyncio.Future[Any], settle: _Settle, value: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits
        future.get_loop().call_soon_threadsafe(settle, future, value)


def _set_result(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _set_error(future: asyncio.Future[Any], error: Any) -> None:
    if not future.done():
        future.set_exception(error)
