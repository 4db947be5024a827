"""The processes of a running system: started together, replaced when they die, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

BACKOFF = 0.5
"""Real seconds before a process that died is replaced."""


@dataclass(slots=True)
class Process:
    """One process of a system: how it is started, and the one that runs now."""

    name: str
    arguments: Sequence[str]
    running: subprocess.Popen[bytes] | None = None
    started: int = 0

    def start(self) -> None:
        """Starts the process; it dies with this one."""
        self.close()
        command = [sys.executable, "-P", "-m", "mainspring", *self.arguments]
        self.running = subprocess.Popen(command, stdin=subprocess.PIPE)
        self.started += 1

    def close(self) -> None:
        """Closes the pipe to the process; if it lives, it ends."""
        if self.running is not None and self.running.stdin is not None:
            self.running.stdin.close()


@dataclass(slots=True)
class Processes:
    """Processes that run together until one asks to stop.

    Args:
        told: is told when a process was replaced.
    """

    processes: Sequence[Process]
    told: Callable[[str], None]
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, pids: Path) -> None:
        """Keeps every process running until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.keep(pids)

    def keep(self, pids: Path) -> None:
        """Keeps every process running until `stopping` is set; a dead one is replaced.

        Args:
            pids: the file where the process ids stand, `name pid` a line.
        """
        try:
            while not self.stopping.is_set():
                if self._replace_dead():
                    pids.write_text("".join(f"{p.name} {_pid(p)}\n" for p in self.processes))
                self.stopping.wait(BACKOFF)
        finally:
            self._end()
            pids.unlink(missing_ok=True)

    def _replace_dead(self) -> bool:
        dead = [p for p in self.processes if p.running is None or p.running.poll() is not None]
        for process in dead:
            if process.running is not None:
                self.told(
                    f"{process.name} ended with {process.running.returncode}; starting it again"
                )
            process.start()
        return bool(dead)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping.set()

    def _end(self) -> None:
        alive = [p.running for p in self.processes if p.running and p.running.poll() is None]
        for running in alive:
            running.terminate()
        for running in alive:
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
        for process in self.processes:
            process.close()


def _pid(process: Process) -> int:
    return process.running.pid if process.running else 0


def end_with_parent() -> None:
    """Ends this process when its parent is gone: the pipe on its standard input closes."""
    threading.Thread(target=_wait_for_parent, name="parent", daemon=True).start()


def _wait_for_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin: its lock would outlive this thread
    signal.raise_signal(signal.SIGTERM)
