"""From installed packages to the first prediction over HTTP: data, history, training, serving.

Runs the flights example in an empty folder: prepares its data, then `mainspring up` as of October,
and asks until a trained version answers. Prints the seconds of each part.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from mainspring import demonstration
from mainspring.clock import parse_time
from mainspring.sources.home import Home
from mainspring.system import load

REQUEST = {
    "flight_id": "2013-10-01-UA1545-EWR",
    "carrier": "UA",
    "flight": "UA1545",
    "origin": "EWR",
    "dest": "IAH",
    "tailnum": "N14228",
    "minute_of_day": 315,
    "weekday": 2,
}
AS_OF = "2013-10-01"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        file = demonstration.set_up(Path(name))
        home = Home.open(Path(name) / ".parting", Path(name))
        demonstration.part(load(file).graph, home, Path(name), parse_time(AS_OF))
        home.close()
        prepared = time.perf_counter()
        port = free_port()
        command = [sys.executable, "-m", "mainspring", "up", str(file), "--clock", AS_OF]
        with subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL) as up:
            try:
                fallback, champion = first_answers(port)
            finally:
                up.terminate()
    print(f"data prepared                      {prepared - started:6.1f} s")
    print(f"first answer (the fallback)        {fallback - started:6.1f} s")
    print(f"first answer of a trained version  {champion - started:6.1f} s")


def first_answers(port: int) -> tuple[float, float]:
    """When the first answer came, and the first one of a trained version."""
    first = 0.0
    for _ in range(2400):
        answer = ask(port)
        first = first or (time.perf_counter() if answer else 0.0)
        if answer and answer["role"] == "champion":
            return first, time.perf_counter()
        time.sleep(0.05)
    sys.exit("no trained version answered within two minutes")


def ask(port: int) -> dict[str, Any] | None:
    url, body = f"http://127.0.0.1:{port}/predict/lateness", json.dumps(REQUEST).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as refused:
        if refused.code < 500:
            sys.exit(refused.read().decode())
        return None
    except (urllib.error.URLError, OSError):
        return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
