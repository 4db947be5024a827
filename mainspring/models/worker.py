"""The far side of a call in a child process: the template forks a guard, the guard forks a worker.

The worker computes. The guard reads the request, enforces the deadline, reports how the worker
ended, and ends it when the caller is gone. `child.py` is the near side.
"""

from __future__ import annotations

import io
import os
import pickle
import resource
import select
import signal
import socket
import struct
import sys
import time
import traceback
from importlib import import_module, util
from pathlib import Path
from typing import Any, NoReturn

from mainspring.errors import MainspringError
from mainspring.models.outcome import (
    DEADLINE,
    Ended,
    Origin,
    Outcome,
    OutOfMemory,
    Raised,
    Returned,
    receive,
    send,
)

REQUEST = struct.Struct("!Qd")  # length of what follows, deadline in seconds
_ANSWER = struct.Struct("!Q")  # length of what follows
_LOOK_UP_S = 2.0  # how often a waiting process asks whether its parent is still there


def serve(control_fd: int, preload: tuple[str, ...]) -> None:
    """The life of a template: fork a guard for each line that arrives, until the caller is gone."""
    for name in preload:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a guard ended
    caller, control = os.getppid(), socket.socket(fileno=control_fd)
    while os.getppid() == caller:
        if select.select([control], [], [], _LOOK_UP_S)[0]:
            _, lines, _, _ = socket.recv_fds(control, 1, 1)
            if not lines:
                return
            if os.fork() == 0:
                control.close()
                _guard(socket.socket(fileno=lines[0]))
                os._exit(0)
            os.close(lines[0])


def _guard(line: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    header = receive(line, REQUEST.size)
    if len(header) < REQUEST.size:
        return
    length, deadline_s = REQUEST.unpack(header)
    request = receive(line, length)
    source, sink = os.pipe()
    worker = os.fork()
    if worker == 0:
        line.close()
        _work(request, sink)
    os.close(sink)
    del request
    answer, reason = _watch(line, source, time.monotonic() + deadline_s)
    if answer or reason:
        _kill(worker)
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    send(line, answer or pickle.dumps(Ended(reason or _name(status))))


def _watch(line: socket.socket, source: int, deadline: float) -> tuple[bytes, str]:
    """The worker's whole answer, or the reason to end the worker, or neither when it died."""
    parent, answer = os.getppid(), bytearray()
    waited: list[int | socket.socket] = [source, line]
    while (left := deadline - time.monotonic()) > 0:
        ready = select.select(waited, [], [], min(left, _LOOK_UP_S))[0]
        if source in ready:
            chunk = os.read(source, 1 << 20)
            answer += chunk
            if _is_whole(answer):
                return bytes(answer[_ANSWER.size :]), ""
            if not chunk:
                return b"", ""
        elif line in ready or os.getppid() != parent:
            return b"", "the end of its caller"
    return b"", DEADLINE


def _is_whole(answer: bytearray) -> bool:
    # The length decides, not the end of the stream: a child of the worker may hold the pipe open.
    if len(answer) < _ANSWER.size:
        return False
    return len(answer) - _ANSWER.size == int(_ANSWER.unpack_from(answer)[0])


def _work(request: bytes, sink: int) -> NoReturn:
    os.setsid()
    outcome = _outcome(request)
    _limit(None)
    try:
        answer = pickle.dumps(outcome, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        answer = pickle.dumps(_raised(error))
    with open(sink, "wb") as out:
        out.write(_ANSWER.pack(len(answer)) + answer)
        out.flush()
        os._exit(0)


def _outcome(request: bytes) -> Outcome:
    stream = io.BytesIO(request)
    sys.path[:], folder, origin, memory_mb = pickle.load(stream)
    try:
        os.chdir(folder)
        _limit(memory_mb)
        function, argument = _Unpickler(stream, origin).load()
        return Returned(function(argument))
    except MemoryError:
        return OutOfMemory()
    except Exception as error:  # noqa: BLE001 - the caller raises it
        return OutOfMemory() if "bad_alloc" in str(error) else _raised(error)


def _limit(memory_mb: int | None) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    soft = most if memory_mb is None else memory_mb << 20
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))


def _raised(error: Exception) -> Raised:
    trace = "".join(traceback.format_exception(error)[-8:])
    ours = error if isinstance(error, MainspringError) else None
    return Raised(type(error).__name__, str(error), trace, ours)


class _Unpickler(pickle.Unpickler):
    """An unpickler that loads the file that declares a class when the class is first needed."""

    def __init__(self, stream: io.BytesIO, origin: Origin) -> None:
        super().__init__(stream)
        self.origin = origin

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        file = self.origin.file
        if module_name == self.origin.module and file and module_name not in sys.modules:
            if not _imports_as(module_name, file):
                load_module(module_name, Path(file))
        return super().find_class(module_name, global_name)


def _imports_as(name: str, file: str) -> bool:
    try:
        spec = util.find_spec(name)
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.origin == file


def load_module(name: str, file: Path) -> None:
    """Run a Python file as the module `name`, as `import` would if it were on the path.

    Raises: ImportError when it is no Python file; whatever the file itself raises.
    """
    spec = util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file", name=name, path=str(file))
    sys.modules[name] = module = util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _kill(worker: int) -> None:
    # The worker leads a process group, so that its own children go too; it may not be so far yet.
    for kill in (os.killpg, os.kill):
        try:
            kill(worker, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _name(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit {status}"
