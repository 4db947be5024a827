from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.errors import DiskFull, SchemaTooNew, StoreBusy, UnknownScheme
from mainspring.stores.base import SCHEMA
from mainspring.stores.sqlalchemy import SqlMetadata
from mainspring.stores.urls import METADATA, connect_metadata
from tests.crash import Mortal
from tests.stores.kit import METADATA_CHECKS, Connect

IMPORTS = """
import os, sys
import mainspring.stores.sqlalchemy
from mainspring.errors import StoreInherited
from mainspring.stores.urls import connect_metadata
"""


def url(scheme: str, folder: Path) -> str:
    """Where a store of this scheme may be made for one test."""
    return {"sqlite": f"sqlite:///{folder}/new/metadata.sqlite"}[scheme]


@pytest.mark.parametrize("check", METADATA_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("scheme", METADATA)
def test_metadata_store(scheme: str, check: Callable[[Connect], None], tmp_path: Path) -> None:
    check(lambda: connect_metadata(url(scheme, tmp_path)))


def test_an_unknown_scheme_names_those_that_are_known() -> None:
    with pytest.raises(UnknownScheme, match=r"nothing here speaks mongodb://[^$]*sqlite://"):
        connect_metadata("mongodb://host/db")


def test_a_store_of_a_newer_mainspring_is_left_alone(tmp_path: Path) -> None:
    with closing(connect_metadata(url("sqlite", tmp_path))) as metadata:
        with metadata.begin() as transaction:
            transaction.update("counter", {"name": "schema"}, value=SCHEMA + 1)
    with pytest.raises(SchemaTooNew, match=f"has schema {SCHEMA + 1}"):
        connect_metadata(url("sqlite", tmp_path))


def test_a_store_that_stays_locked_is_called_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.stores.sqlalchemy._WAIT_SECONDS", 0.05)
    at = url("sqlite", tmp_path)
    with closing(connect_metadata(at)) as one, closing(connect_metadata(at)) as two:
        with one.begin(), pytest.raises(StoreBusy, match="stayed locked by another writer"):
            with two.begin():
                pass
        with two.begin() as transaction:
            assert transaction.next_number("plan") == 1


def test_a_full_disk_undoes_the_transaction(tmp_path: Path) -> None:
    with closing(SqlMetadata(url("sqlite", tmp_path))) as metadata:
        with pytest.raises(DiskFull, match="the disk is full"), metadata.begin() as transaction:
            transaction._connection.exec_driver_sql("PRAGMA max_page_count=1")  # as full as it is
            for n in range(100):
                transaction.insert("decision", number=n, reason="why" * 1000)
        with metadata.read() as snapshot:
            assert snapshot.select("decision") == []


def test_a_forked_child_must_connect_again(tmp_path: Path) -> None:
    program = """
metadata = connect_metadata(sys.argv[3])
ready()
child = os.fork()
if child == 0:
    try:
        with metadata.read():
            os._exit(1)
    except StoreInherited:
        os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    with Mortal(IMPORTS, program, url("sqlite", tmp_path)) as process:
        assert process.live()


def test_processes_that_connect_first_at_once_all_succeed(tmp_path: Path) -> None:
    program = """
import sys
from mainspring.stores.urls import connect_metadata
sys.stdin.readline()
with connect_metadata(sys.argv[1]).begin() as transaction:
    print(transaction.next_number("plan"))
"""
    command = [sys.executable, "-c", program, url("sqlite", tmp_path)]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    for process in started:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert sorted(int(process.communicate()[0]) for process in started) == [1, 2, 3, 4]


def test_committed_transactions_survive_kill_9_whole(tmp_path: Path) -> None:
    program = """
metadata = connect_metadata(sys.argv[3])
acknowledged = os.open(sys.argv[4], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
ready()
while True:
    with metadata.begin(sync=False) as transaction:
        number = transaction.next_number("version")
        transaction.insert("version", model="m", number=number)
        transaction.insert("decision", number=number)
    os.write(acknowledged, b"%d\\n" % number)
"""
    moments, at, file = random.Random(4), url("sqlite", tmp_path), tmp_path / "acknowledged"
    with Mortal(IMPORTS, program, at, str(file)) as writer:
        for _ in range(10):
            writer.live(moments.uniform(0, 0.03))
    with closing(connect_metadata(at)) as metadata, metadata.read() as snapshot:
        versions = [row["number"] for row in snapshot.select("version")]
        decisions = [row["number"] for row in snapshot.select("decision")]
    assert versions
    assert versions == decisions == list(range(1, len(versions) + 1))
    assert set(map(int, file.read_text().split())) <= set(versions)
