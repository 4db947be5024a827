"""One call in a process of its own, with a deadline and a memory limit.

The calling process starts a *template* once: a fresh interpreter that has imported the heavy
libraries and never used them, so that no thread pool is ever forked while it runs. Each call is a
fork of the template (`worker.py`): milliseconds instead of the seconds of those imports.
"""

from __future__ import annotations

import atexit
import io
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from mainspring.models.outcome import Ended, Origin, Outcome, receive_all, send
from mainspring.models.worker import REQUEST

PRELOAD = ("mainspring.models.fit", "sklearn.linear_model", "lightgbm", "skops.io")

# Threads that spin while they wait made a fit 20 times slower where other processes use the cores;
# and sets of text must iterate alike in every fit. The environment overrides each.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def call(
    function: Callable[[Any], Any],
    argument: Any,
    *,
    origin: Origin,
    deadline_s: float,
    memory_mb: int | None = None,
) -> Outcome:
    """What became of `function(argument)` in a child: milliseconds more than the call itself.

    Example:
        >>> call(abs, -3, origin=Origin("here"), deadline_s=10.0)
        Returned(value=3)
    """
    request = io.BytesIO()
    pickle.dump((sys.path, os.getcwd(), origin, memory_mb), request)
    pickle.dump((function, argument), request, protocol=5)
    with _Template.line() as line:
        send(line, REQUEST.pack(request.tell(), deadline_s), request.getbuffer())
        answer = receive_all(line)
    outcome: Outcome = pickle.loads(answer) if answer else Ended("the end of its guard")
    return outcome


class _Template:
    """The template of this process: started when first needed, again after a fork or its death."""

    _lock = threading.Lock()
    _current: _Template | None = None

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.control, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from mainspring.models.worker import serve; "
            f"serve({theirs.fileno()}, {PRELOAD!r})"
        )
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                env=_ENVIRONMENT | os.environ,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what an estimator prints is no answer of ours
                start_new_session=True,  # Ctrl-C is for the caller, who then closes its lines
            )
        atexit.register(self.close)

    def close(self) -> None:
        self.control.close()
        if self.owner == os.getpid():
            self.process.wait()

    @classmethod
    def line(cls) -> socket.socket:
        """A socket to a guard that waits for one request."""
        ours, theirs = socket.socketpair()
        with cls._lock, theirs:
            try:
                socket.send_fds(cls._running().control, [b"1"], [theirs.fileno()])
            except BrokenPipeError:
                cls._current = None
                socket.send_fds(cls._running().control, [b"1"], [theirs.fileno()])
        return ours

    @classmethod
    def _running(cls) -> _Template:
        current = cls._current
        if current is None or current.owner != os.getpid() or current.process.poll() is not None:
            current = cls._current = _Template()
        return current
