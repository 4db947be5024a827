"""The journal: steps that happen exactly once, whatever is killed in between.

A step's record and all its effects are committed in one transaction, which first checks a fencing
token: only who took the step last can finish it. Work itself may run again after a crash, so what
it leaves behind counts only if its effects point to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from mainspring.clock import Clock
from mainspring.errors import LeaseLost, MainspringError, StepBusy, StepFailed, StoreBusy
from mainspring.stores.base import Metadata, Row, Transaction, checked

Effects = Callable[[Transaction], None]
Work = Callable[[], tuple[Row, Effects]]


class Journal:
    """Durable steps on the metadata store.

    Args:
        clock: the system's clock, for when a step began and ended.
        wall: the time of day, for leases: a replayed week must not outlive one.
        owner: who does the steps; after a restart under this name it takes its lease back at once.
        lease: how long others wait for a dead owner; while work runs, its lease is extended.
        attempts: how often work may raise before the step is given up.
        sync: False lets steps survive kill -9 but not power loss (replays).

    Example:
        >>> from datetime import timedelta
        >>> from tempfile import TemporaryDirectory
        >>> from mainspring.clock import SystemClock
        >>> from mainspring.stores.urls import connect_metadata
        >>> def train():
        ...     print("training")
        ...     return {"trees": 100}, lambda transaction: transaction.insert("cursor", name="rows")
        >>> with TemporaryDirectory() as folder:
        ...     metadata = connect_metadata(f"sqlite:///{folder}/metadata.sqlite")
        ...     clock, lease = SystemClock(), timedelta(seconds=30)
        ...     journal = Journal(metadata, clock=clock, wall=clock, owner="loop", lease=lease)
        ...     journal.run("train/1", "train", train), journal.run("train/1", "train", train)
        ...     metadata.close()
        training
        ({'trees': 100}, {'trees': 100})
    """

    def __init__(
        self,
        metadata: Metadata,
        *,
        clock: Clock,
        wall: Clock,
        owner: str,
        lease: timedelta,
        attempts: int = 3,
        sync: bool = True,
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._wall = wall
        self._owner = owner
        self._lease = lease
        self._attempts = attempts
        self._sync = sync
        self._lock = threading.Lock()
        self._tokens: dict[str, int] = {}  # of the steps that are being done here
        self._beating = False

    def run(self, key: str, kind: str, work: Work) -> Row:
        """The output of a step: of `work` now, or of the time it was done.

        The work returns its output, as JSON can hold it, and its effects, which are applied in the
        transaction that marks the step done.

        Raises:
            StepBusy: someone else holds the step.
            StepFailed: the work raised, now or as often as it may.
            LeaseLost: someone else took the step over meanwhile; nothing was kept.
        """
        with self._only(key):
            row = self._take(key, kind)
            if row["state"] == "done":
                return _output(row)
            token = row["token"]
            self._keep(key, token)
            try:
                output, effects = work()
                return self._finish(key, token, output, effects)
            except LeaseLost:
                raise
            except Exception as error:
                raise self._failed(key, row, error) from error

    def retry(self, key: str) -> None:
        """Allows a failed step as many tries as a new one."""
        with self._metadata.begin(self._sync) as transaction:
            transaction.update("step", {"key": key, "state": "failed"}, attempts=0)

    def extend(self, key: str, token: int) -> bool:
        """Prolongs the lease of a step; False when it is no longer ours."""
        with self._metadata.begin(sync=False) as transaction:
            return bool(transaction.update("step", _ours(key, token), lease_until=self._until()))

    def _take(self, key: str, kind: str) -> Row:
        # Unsynced: a lease that power loss takes was held by nobody who is still alive.
        with self._metadata.begin(sync=False) as transaction:
            row = transaction.one("step", key=key) or {"key": key, "token": 0, "attempts": 0}
            if row.get("state") == "done":
                return row
            self._refuse(row)
            taken: Row = {
                "kind": kind,
                "state": "running",
                "owner": self._owner,
                "token": row["token"] + 1,
                "lease_until": self._until(),
                "attempts": row["attempts"],
                "started_at": self._clock.now(),
            }
            transaction.upsert("step", {"key": key}, **taken)
            return taken

    def _refuse(self, row: Row) -> None:
        left = (row.get("lease_until") or 0) - self._wall.now()
        if row.get("state") == "running" and row["owner"] != self._owner and left > 0:
            raise StepBusy(key=row["key"], owner=row["owner"], seconds=left / 1e6)
        if row["attempts"] >= self._attempts:
            raise self._failure(row["key"], row["attempts"], _output(row))

    def _finish(self, key: str, token: int, output: Row, effects: Effects) -> Row:
        with self._metadata.begin(self._sync) as transaction:
            self._end(transaction, key, token, state="done", output=output)
            effects(transaction)
        return _output(checked("step", {"output": output}))

    def _failed(self, key: str, taken: Row, error: Exception) -> StepFailed:
        code = error.code if isinstance(error, MainspringError) else type(error).__name__
        output = {"error": code, "message": str(error)}
        attempts = taken["attempts"] + 1
        with self._metadata.begin(self._sync) as transaction:
            self._end(
                transaction, key, taken["token"], state="failed", output=output, attempts=attempts
            )
        return self._failure(key, attempts, output)

    def _end(self, transaction: Transaction, key: str, token: int, **values: Any) -> None:
        """Marks the step, which the fencing token must still hold, or the transaction is undone."""
        now = self._clock.now()
        mark = {"ended_at": now, "lease_until": None, **values}
        if not transaction.update("step", _ours(key, token), **mark):
            taker = transaction.one("step", key=key) or {"owner": "nobody"}
            raise LeaseLost(key=key, owner=taker["owner"], loser=self._owner)

    def _failure(self, key: str, attempts: int, output: Row) -> StepFailed:
        return StepFailed(key=key, attempts=attempts, limit=self._attempts, **output)

    def _until(self) -> int:
        return self._wall.now() + self._lease // timedelta(microseconds=1)

    @contextmanager
    def _only(self, key: str) -> Generator[None]:
        """Keeps two threads from one step: to the store they are one owner."""
        with self._lock:
            if key in self._tokens:
                raise StepBusy(key=key, owner=f"another thread of {self._owner}", seconds=0.0)
            self._tokens[key] = 0
        try:
            yield
        finally:
            with self._lock:
                del self._tokens[key]

    def _keep(self, key: str, token: int) -> None:
        """Has the lease extended from now on, by one thread for all steps of this journal."""
        with self._lock:
            self._tokens[key] = token
            if not self._beating:
                self._beating = True
                threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while held := self._held_after(self._lease.total_seconds() / 3):
            for key, token in held.items():
                try:
                    self.extend(key, token)
                except StoreBusy:
                    continue  # a third of the lease later there is another chance

    def _held_after(self, seconds: float) -> dict[str, int]:
        threading.Event().wait(seconds)
        with self._lock:
            self._beating = bool(self._tokens)
            return dict(self._tokens)


def _ours(key: str, token: int) -> dict[str, Any]:
    return {"key": key, "token": token, "state": "running"}


def _output(row: Row) -> Row:
    output: Row = row["output"]
    return output
