from __future__ import annotations

import os
import random
import resource
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.errors import DiskFull, LogClosed, LogCorrupt, LogDropped, LogLocked
from mainspring.sources.log import Log
from mainspring.sources.reader import Reader
from mainspring.sources.segment import segment_path
from tests.crash import Mortal

FRAME = 16  # bytes of header
IMPORTS = """
import os, sys
from pathlib import Path
from mainspring.errors import LogClosed
from mainspring.sources.log import Log
"""
payload_lists = st.lists(st.binary(max_size=40), min_size=1, max_size=12)


@contextmanager
def written(payloads: list[bytes]) -> Generator[Path]:
    """A log of these records that was closed; the folder goes afterwards."""
    with TemporaryDirectory() as name:
        with Log(Path(name)) as log:
            log.append(payloads, sync=False)
        yield Path(name)


def everything(folder: Path, start: int = 0) -> list[tuple[int, bytes]]:
    with Reader(folder, start) as reader:
        return reader.read(10**9)


def ends(payloads: list[bytes]) -> list[int]:
    return [sum(FRAME + len(p) for p in payloads[:n]) for n in range(len(payloads) + 1)]


def test_offsets_are_consecutive_from_zero_across_reopening(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        assert (log.start, log.end) == (0, 0)
        assert log.append([b"a", b""], sync=True) == 0
        assert log.append([], sync=True) == 2
    with Log(tmp_path) as log:
        assert log.append([b"c"], sync=False) == 2
        assert log.read(0, 10) == [(0, b"a"), (1, b""), (2, b"c")]
        assert log.end == 3


@settings(max_examples=40)  # every new segment waits for the disk
@given(st.lists(payload_lists, max_size=6), st.integers(1, 200), st.data())
def test_a_log_gives_back_what_was_appended(
    groups: list[list[bytes]], segment_bytes: int, data: st.DataObject
) -> None:
    expected = [p for group in groups for p in group]
    start = data.draw(st.integers(0, len(expected)))
    with TemporaryDirectory() as name, Log(Path(name), segment_bytes) as log:
        with Reader(Path(name), start) as tail:
            tailed = [r for g in groups if log.append(g, sync=False) >= 0 for r in tail.read(999)]
        assert tailed == list(enumerate(expected))[start:]
        assert [log.read(n, 1) for n in range(start, len(expected))] == [[r] for r in tailed]


@given(payload_lists, st.data())
def test_a_torn_end_is_cut_off_and_no_whole_record_is_lost(
    payloads: list[bytes], data: st.DataObject
) -> None:
    size = data.draw(st.integers(0, ends(payloads)[-1]))
    whole = sum(end <= size for end in ends(payloads)[1:])
    with written(payloads) as folder:
        os.truncate(segment_path(folder, 0), size)
        assert everything(folder) == list(enumerate(payloads[:whole]))
        with Log(folder) as log:
            assert log.torn_bytes == size - ends(payloads)[whole]
            assert log.append([b"next"], sync=False) == whole
        assert everything(folder) == list(enumerate([*payloads[:whole], b"next"]))


@given(payload_lists, st.data())
def test_a_flipped_byte_is_noticed_wherever_it_is(
    payloads: list[bytes], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, ends(payloads)[-1] - 1))
    damaged = sum(end <= at for end in ends(payloads)[1:])
    with written(payloads) as folder:
        content = bytearray(segment_path(folder, 0).read_bytes())
        content[at] ^= data.draw(st.integers(1, 255))
        segment_path(folder, 0).write_bytes(content)
        if damaged == len(payloads) - 1:  # as if torn: the last record was never whole
            with Log(folder) as log:
                assert log.end == damaged
        else:
            with pytest.raises(LogCorrupt, match=f"record {damaged} of the log is damaged"):
                Log(folder)
            with Reader(folder) as reader, pytest.raises(LogCorrupt) as raised:
                reader.read(999)
            assert raised.value.position == ends(payloads)[damaged]


def test_damage_in_an_old_segment_names_file_and_position(tmp_path: Path) -> None:
    with Log(tmp_path, segment_bytes=1) as log:
        for payload in (b"a", b"b", b"c"):
            log.append([payload], sync=False)
    os.truncate(segment_path(tmp_path, 1), 5)
    with Reader(tmp_path) as reader, pytest.raises(LogCorrupt, match=r"0001\.log, byte 0"):
        reader.read(10)


def test_zeros_after_the_end_are_torn_off(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append([b"a"], sync=False)
    with segment_path(tmp_path, 0).open("ab") as file:
        file.write(bytes(100_000))
    assert everything(tmp_path) == [(0, b"a")]
    with Log(tmp_path) as log:
        assert (log.end, log.torn_bytes) == (1, 100_000)


def test_reader_stops_before_a_frame_in_the_making_and_goes_on_after(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append([b"first", b"second"], sync=False)
    whole = segment_path(tmp_path, 0).read_bytes()
    with Reader(tmp_path) as reader:
        segment_path(tmp_path, 0).write_bytes(whole[:-3])
        assert reader.read(10) == [(0, b"first")]
        assert reader.read(10) == []
        segment_path(tmp_path, 0).write_bytes(whole)
        assert reader.read(10) == [(1, b"second")]


def test_reader_may_come_before_the_writer(tmp_path: Path) -> None:
    with Reader(tmp_path / "log", start=1) as reader:
        assert reader.read(10) == []
        with Log(tmp_path / "log") as log:
            log.append([b"a"], sync=False)
            assert reader.read(10) == []
            log.append([b"b"], sync=False)
        assert reader.read(10) == [(1, b"b")]


def test_a_record_larger_than_the_reading_chunk_is_read(tmp_path: Path) -> None:
    large = random.Random(1).randbytes(3 << 20)
    with Log(tmp_path) as log:
        log.append([b"a", large, b"b"], sync=False)
        assert log.read(0, 10) == [(0, b"a"), (1, large), (2, b"b")]


def test_dropped_records_are_gone_and_said_to_be(tmp_path: Path) -> None:
    with Log(tmp_path, segment_bytes=30) as log:
        for n in range(10):
            log.append([b"%d" % n], sync=False)  # two to a segment
        log.drop_before(5)
        assert (log.start, log.end) == (4, 10)
        assert [offset for offset, _ in log.read(4, 99)] == list(range(4, 10))
        with pytest.raises(LogDropped, match=r"record 3 is no longer in the log .* starts at 4"):
            log.read(3, 1)
        log.drop_before(99)
        assert (log.start, log.end) == (8, 10)


def test_two_writers_are_refused_with_the_process_that_writes(tmp_path: Path) -> None:
    with Log(tmp_path):
        with pytest.raises(LogLocked, match=f"is being written by process {os.getpid()}"):
            Log(tmp_path)
    Log(tmp_path).close()


def test_a_forked_child_neither_writes_nor_keeps_the_lock(tmp_path: Path) -> None:
    program = """
log = Log(Path(sys.argv[3]))
told, tell = os.pipe()
ready()
if os.fork() == 0:
    try:
        log.append([b"from the child"], sync=False)
    except LogClosed:
        os.write(tell, b"refused")
    sys.stdin.read()
else:
    assert os.read(told, 99) == b"refused"
    log.append([b"from the parent"], sync=False)
"""
    with Mortal(IMPORTS, program, str(tmp_path)) as parent:
        assert parent.live()
        with Log(tmp_path) as log:  # the parent is gone, its child lives on
            assert log.read(0, 10) == [(0, b"from the parent")]


def test_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.close()
    log.close()
    with pytest.raises(LogClosed, match="is not open in this process"):
        log.append([b"a"], sync=False)


def test_a_full_disk_refuses_the_append_and_leaves_the_log_whole(tmp_path: Path) -> None:
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Log(tmp_path) as log:
        log.append([b"before"], sync=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, unlimited[1]))
        try:
            with pytest.raises(DiskFull, match="the disk is full"):
                log.append([b"x" * 500] * 10, sync=True)  # some of it was written
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert everything(tmp_path) == [(0, b"before")]
        assert log.append([b"after"], sync=True) == 1
    assert everything(tmp_path) == [(0, b"before"), (1, b"after")]


def test_synced_tells_what_power_loss_cannot_take(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append([b"a"], sync=False)
        assert log.synced == 0
        log.flush()
        assert log.synced == 1
        log.append([b"b"], sync=True)
        assert log.synced == 2


def test_threads_append_together_without_a_gap(tmp_path: Path) -> None:
    firsts: list[int] = []
    with Log(tmp_path, segment_bytes=500) as log:

        def work() -> None:
            for _ in range(20):
                firsts.append(log.append([b"x", b"y"], sync=True))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert log.synced == 160
    assert sorted(firsts) == list(range(0, 160, 2))
    assert [offset for offset, _ in everything(tmp_path)] == list(range(160))


def test_everything_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    program = """
folder = Path(sys.argv[3])
log = Log(folder, segment_bytes=20_000)
acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
ready()
while True:
    first = log.append([b"%d" % (log.end + n) * 40 for n in range(3)], sync=False)
    os.write(acknowledged, b"%d\\n" % (first + 2))
"""
    moments = random.Random(9)
    with Mortal(IMPORTS, program, str(tmp_path)) as writer, Reader(tmp_path) as reader:
        read: list[tuple[int, bytes]] = []
        for _ in range(20):
            writer.live(moments.uniform(0.001, 0.03))
            acknowledged = map(int, (tmp_path / "acknowledged").read_text().split())
            read += reader.read(10**9)
            assert len(read) > max(acknowledged, default=-1)
    with Log(tmp_path) as log:
        assert log.end == len(read)
    assert read == [(n, b"%d" % n * 40) for n in range(len(read))]
