"""The fenced blocks of a page, and how each is run.

A `python` block is executed, or compared where it has prompts; one with a `title="name.py"` is
saved as that file. A `console` block has commands after `$`, and what they print; `...` stands for
anything. A `sh` block has commands alone. `mainspring up` and `mainspring serve` go on running
while the rest of the page is run, on a free port that the page calls 8000.
"""

from __future__ import annotations

import doctest
import io
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from unittest.mock import patch

from mainspring import cli, errors
from mainspring.serving.server import listen

FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
ANYTHING = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PORT = "8000"
PATIENCE = 60.0
"""Seconds that a running system may take until a command prints what the page says."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def commands(self) -> Iterator[tuple[str, str]]:
        """The commands of a `sh` or `console` block, each with what it should print."""
        if self.language == "sh":
            lines = (line.partition("#")[0].strip() for line in self.text.splitlines())
            yield from ((line, "") for line in lines if line)
        elif self.language == "console":
            for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
                command, _, wanted = part.partition("\n")
                yield command, wanted


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start()) + 2, *found.groups())
        for found in FENCE.finditer(text)
    ]


@dataclass
class Reader:
    """Someone who does what the pages say, in one folder."""

    folder: Path
    names: dict[str, Any] = field(default_factory=dict[str, Any])
    server: subprocess.Popen[bytes] | None = None
    served: str = ""
    port: str = PORT

    def follow(self, block: Block) -> None:
        """Does what a block says."""
        if block.title:
            (self.folder / block.title).write_text(block.text)
        elif block.language == "python" and ">>> " in block.text:
            self._compare(block)
        elif block.language == "python":
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, block.page.name, "exec"), self.names)
        for command, wanted in block.commands:
            self._do(command, wanted, f"{block.page.name}:{block.line}: $ {command}")

    def _compare(self, block: Block) -> None:
        said: list[str] = []
        test = doctest.DocTestParser().get_doctest(
            block.text, self.names, block.page.name, str(block.page), block.line - 1
        )
        runner = doctest.DocTestRunner(optionflags=ANYTHING)
        runner.run(test, out=said.append, clear_globs=False)
        self.names = test.globs
        assert not runner.failures, "".join(said)

    def _do(self, command: str, wanted: str, where: str) -> None:
        """Runs a command until it prints what is wanted: a running system takes its time."""
        status, printed = self._run(command)
        until, again = monotonic() + (PATIENCE if self.server else 0), False
        while True:
            right = doctest.OutputChecker().check_output(wanted, printed, ANYTHING)
            if (right or not wanted) and bool(status) == _is_error(wanted):
                break
            assert monotonic() < until, f"{where}\n--- printed ({status})\n{printed}"
            sleep(0.3)
            status, printed, again = *self._run(command), True
        if again:
            sleep(1)  # the server follows what the loop has decided

    def _run(self, command: str) -> tuple[int, str]:
        words = shlex.split(command.replace(PORT, self.port))
        if words[0] == "curl":
            return 0, curl(words[1:])
        if words[0] != "mainspring":
            return self._process(["sh", "-c", command])
        if words[1] not in ("up", "serve"):
            return mainspring(words[1:])
        if self.server and command != self.served:
            return self._process([*_MAINSPRING, *words[1:]])
        if not self.server:
            self.served = command
            self._serve(words[1:])
        return 0, self._log.read_text().replace(self.port, PORT)

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _process(self, command: list[str]) -> tuple[int, str]:
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
        return done.returncode, (done.stdout + done.stderr).replace(self.port, PORT)

    def _serve(self, arguments: list[str]) -> None:
        """Starts a server, and waits until it is ready."""
        with listen("127.0.0.1", 0) as free:
            self.port = str(free.getsockname()[1])
        command = [*_MAINSPRING, *arguments, "--port", self.port]
        with self._log.open("wb") as output:
            self.server = subprocess.Popen(command, env=_environment(), stdout=output)
        until = monotonic() + PATIENCE
        while '"ready":true' not in curl([f"localhost:{self.port}/ready"]):
            assert self.server.poll() is None and monotonic() < until, self._log.read_text()
            sleep(0.1)

    def leave(self) -> None:
        """Stops what runs."""
        if self.server:
            self.server.terminate()
            assert self.server.wait(PATIENCE) == 0


_MAINSPRING = (sys.executable, "-m", "mainspring")


def _environment() -> dict[str, str]:
    repository = str(Path(__file__).resolve().parent.parent)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": repository, "PATH": path}


def _is_error(wanted: str) -> bool:
    """Whether what should be printed begins with an error, so that the status is not 0."""
    return hasattr(errors, wanted.partition(":")[0])


def mainspring(arguments: list[str]) -> tuple[int, str]:
    """The status and the output of a command, run in this process."""
    output, status = io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["mainspring", *arguments]),
        redirect_stdout(output),
        redirect_stderr(output),
    ):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return status, output.getvalue()


def curl(words: list[str]) -> str:
    """What `curl` prints for these words, which is not installed everywhere."""
    address = next(word for word in words if word.startswith(("localhost", "http")))
    body = words[words.index("--json") + 1].encode() if "--json" in words else None
    url = address if address.startswith("http") else f"http://{address}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
    except OSError as error:
        return json.dumps(str(error))
