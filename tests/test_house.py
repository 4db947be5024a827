"""The house itself: its checks catch what they say, and importing Mainspring is light."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from tools import check_source, count_lines

HEAVY = {
    "altair",
    "deltalake",
    "duckdb",
    "jinja2",
    "lightgbm",
    "lmdb",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "skops",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "vl_convert",
}


def rules_broken(place: str, source: str) -> set[str]:
    file = check_source.parse(place, source, frozenset({"errors", "stores"}))
    return {rule for _, rule, _ in check_source.breaches(file)}


@pytest.mark.parametrize(
    ("rule", "place", "source"),
    [
        ("library", "sources/table.py", "import duckdb"),
        ("library", "stores/sqlite.py", "from sqlalchemy import select"),
        ("library", "sources/table.py", "def read():\n    import deltalake.writer"),
        ("library", "stores/lmdb.py", "def read():\n    import lmdb"),
        ("library", "models/lmdb.py", "import lmdb"),
        ("wall", "sources/table.py", "from mainspring.stores.deltalake import DeltaTables"),
        ("wall", "stores/urls.py", "import mainspring.engines.duckdb"),
        ("wall", "system.py", "from mainspring.stores import lmdb"),
        ("import", "system.py", "def plan():\n    from mainspring import errors"),
        ("import", "system.py", "class A:\n    def f(self):\n        import mainspring.errors"),
        ("import", "system.py", "from mainspring.errors import *"),
        ("import", "system.py", "from numpy import *"),
        ("import", "system.py", "import mainspring as ms"),
        ("import", "system.py", "from mainspring import System"),
        ("init", "__init__.py", "def __getattr__(name): ..."),
        ("init", "sources/__init__.py", "if True:\n    from mainspring import errors"),
        ("init", "sources/__init__.py", "registry = {}"),
        ("clock", "serving/server.py", "import time\nnow = time.time()"),
        ("clock", "serving/server.py", "import time as t\nread = t.time_ns"),
        ("clock", "serving/server.py", "from time import sleep"),
        ("clock", "serving/server.py", "from datetime import datetime as dt, UTC\ndt.now(UTC)"),
        ("clock", "serving/server.py", "import datetime\ndatetime.datetime.utcnow()"),
        ("clock", "serving/server.py", "def f():\n    from datetime import date\n    date.today()"),
        ("pickle", "stores/files.py", "import pickle\npickle.loads(b'')"),
        ("pickle", "stores/files.py", "from joblib import load"),
        ("pickle", "stores/files.py", "import numpy as np\nnp.load('x', allow_pickle=True)"),
        ("assert", "system.py", "def f(x):\n    assert x > 0, 'x must be positive'"),
        ("unfinished", "system.py", "x = 1  # TO" + "DO: more"),
        ("unfinished", "system.py", '"""Works, FIX' + 'ME for NULL."""'),
    ],
)
def test_house_rule_catches(rule: str, place: str, source: str) -> None:
    assert rules_broken(place, source) == {rule}


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("stores/lmdb.py", "import lmdb\nfrom mainspring.stores.base import OnlineStore"),
        ("sources/table.py", "from mainspring.stores import base, urls"),
        ("system.py", "from mainspring import errors\nimport mainspring.errors"),
        ("cli.py", "import mainspring as ms"),
        ("models/evaluate.py", "def fit():\n    from sklearn.linear_model import Ridge"),
        ("__init__.py", '"""Doc."""\nfrom mainspring.errors import A\n__all__ = ["A"]'),
        ("clock.py", "import time\ntime.time_ns()"),
        ("serving/server.py", "import time\ntime.perf_counter()"),
        ("serving/server.py", "from datetime import datetime\ndatetime.fromtimestamp(0)"),
        ("serving/server.py", "def f(clock):\n    return clock.time.time()"),
        ("models/registry.py", "import pickle\npickle.loads(b'')"),
        ("stores/files.py", "import pickle\npickle.dumps(1)"),
    ],
)
def test_house_rules_let_pass(place: str, source: str) -> None:
    assert rules_broken(place, source) == set()


def test_a_breach_names_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "system.py").write_text('"""Doc."""\n\nassert True\n')
    assert check_source.main(tmp_path) == 1
    assert f"{tmp_path}/system.py:3: assert: " in capsys.readouterr().out


def test_lines_of_code_leave_out_blanks_comments_and_docstrings() -> None:
    source = (
        '"""Doc\n\nmore."""\n\n# why\nx = """a\nb"""\n\n\ndef f():\n    """Doc."""\n    return x\n'
    )
    assert count_lines.count(source) == 4


def test_line_count_fails_above_the_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text("x = 1\ny = 2\n")
    assert count_lines.main(tmp_path, limit=2) == 0
    assert count_lines.main(tmp_path, limit=1) == 1
    assert "2  lines of code of 1 allowed" in capsys.readouterr().out


def in_fresh_process(program: str, cwd: Path) -> list[str]:
    """What `program` leaves in `found`, run where nothing has been imported yet."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import json\n{program}\nprint(json.dumps(sorted(found)))"],
        capture_output=True,
        check=True,
        cwd=cwd,
        text=True,
    )
    return [str(name) for name in json.loads(ran.stdout)]


def test_import_loads_nothing_heavy(repository: Path) -> None:
    loaded = in_fresh_process("import sys, mainspring\nfound = sys.modules", repository)
    assert "mainspring" in loaded
    assert HEAVY.isdisjoint(loaded)


def test_import_opens_no_file_but_code(repository: Path) -> None:
    program = """
import sys
found = set()
sys.addaudithook(lambda event, args: found.add(str(args[0])) if event == "open" else None)
import mainspring
"""
    opened = in_fresh_process(program, repository)
    assert [path for path in opened if not re.search(r"\.(py|pyc|so|pth)(\.\d+)?$", path)] == []


def test_every_dependency_is_pinned_and_names_no_host(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[\[<>=]", line)[0] for line in asked}
    pins = (repository / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!]+", pin) for pin in pins)
    assert names <= {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
