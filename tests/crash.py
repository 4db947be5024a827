"""Processes that are killed: what was acknowledged before must be there after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from time import sleep
from typing import Self

# One interpreter that has imported everything; each life is a fork of it.
_NURSERY = r"""
import os, sys
program = compile(sys.argv[1], "program", "exec")
tell = lambda what: os.write(1, f"{what}\n".encode())  # at once: parent and child do not mix
imports = {"ready": lambda: tell("ready")}
exec(sys.argv[2], imports)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        tell(os.getpid())
        exec(program, imports)
        os._exit(0)
    tell(os.waitpid(child, 0)[1])
"""


class Mortal:
    """A program that can live, and be killed, again and again.

    Args:
        imports: statements run once, before the first life.
        program: statements of one life, among them `ready()`; `sys.argv[3:]` are the arguments.
    """

    def __init__(self, imports: str, program: str, *arguments: str) -> None:
        self._nursery = subprocess.Popen(
            [sys.executable, "-c", _NURSERY, program, imports, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def live(
        self, seconds: float | None = None, after: Callable[[], object] = lambda: None
    ) -> bool:
        """One life, killed some seconds after it was ready; whether it ended by itself.

        Args:
            after: waits until the seconds begin.
        """
        assert self._nursery.stdin and self._nursery.stdout
        self._nursery.stdin.write("\n")
        self._nursery.stdin.flush()
        child = int(self._nursery.stdout.readline())
        assert self._nursery.stdout.readline() == "ready\n"
        after()
        if seconds is not None:
            sleep(seconds)
            with suppress(ProcessLookupError):  # it was faster
                os.kill(child, signal.SIGKILL)
        status = int(self._nursery.stdout.readline())
        assert status in (0, signal.SIGKILL)
        return status == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._nursery.communicate()
