"""The spool never gives a wrong or reordered entry, whatever happened to its files."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamtrack.sinks._spool import Entry, InUse, Spool

SMALL = 400
# Hundreds of small files: in memory where there is such a place.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def opened(folder: Path, max_bytes: int = SMALL, **options: bool) -> Iterator[Spool]:
    spool = Spool(folder, max_bytes=max_bytes, **options)
    spool.open()
    try:
        yield spool
    finally:
        spool.close()


def payloads(entries: list[Entry]) -> list[bytes]:
    return [entry.payload for entry in entries]


def everything(spool: Spool) -> list[bytes]:
    return payloads(spool.peek(10**6, 10**9))


def test_what_is_appended_is_read_in_order_until_it_is_acknowledged(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as spool:
        spool.append([b"a", b"b"])
        spool.append([b"c"])
        first = spool.peek(2, 10**6)
        assert payloads(first) == [b"a", b"b"] == payloads(spool.peek(2, 10**6))
        assert spool.acknowledge(first[0]) == 1
        assert payloads(spool.peek(9, 10**6)) == [b"b", b"c"]
        assert spool.acknowledge(spool.peek(9, 10**6)[-1]) == 2
        assert (spool.peek(9, 10**6), spool.waiting) == ([], 0)


def test_a_batch_is_bounded_by_bytes_and_never_empty(tmp_path: Path) -> None:
    with opened(tmp_path / "spool", 10**6) as spool:
        spool.append([b"x" * 100] * 3)
        assert len(spool.peek(9, 250)) == 2
        assert len(spool.peek(9, 1)) == 1


def test_an_empty_one_leaves_nothing_and_one_with_entries_stays(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "spool"
    with opened(folder) as spool:
        spool.append([b"a"])
        spool.acknowledge(spool.peek(1, 1)[0])
    assert not folder.exists()
    with opened(folder, fsync=True) as spool:
        spool.append([b"b", b"c"])
        spool.acknowledge(spool.peek(1, 1)[0])
    with opened(folder) as spool:
        assert (everything(spool), spool.waiting, spool.torn) == ([b"c"], 1, 0)


def test_two_processes_cannot_have_one(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(InUse, match=str(os.getpid())):
        Spool(tmp_path, max_bytes=SMALL).open()
    with opened(tmp_path):
        pass


def test_a_full_one_says_so_and_drops_the_oldest_when_told(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as spool:
        number = 0
        while spool.has_room(10):
            spool.append([b"%010d" % number])
            number += 1
        assert sum(path.stat().st_size for path in spool.folder.glob("*.spool")) <= SMALL
        dropped = spool.drop_oldest()
        assert 0 < dropped < number
        assert spool.has_room(10)
        assert everything(spool) == [b"%010d" % n for n in range(dropped, number)]
        assert spool.waiting == number - dropped


def test_an_entry_that_was_dropped_while_it_was_on_its_way_is_not_counted_again(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as spool:
        spool.append([b"a"])
        on_its_way = spool.peek(1, 1)[0]
        assert spool.drop_oldest() == 1
        spool.append([b"b"])
        assert (spool.acknowledge(on_its_way), spool.waiting, everything(spool)) == (0, 1, [b"b"])


def test_an_empty_one_takes_what_is_larger_than_its_bound(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as spool:
        assert spool.has_room(10 * SMALL)
        spool.append([b"x" * 10 * SMALL])
        assert not spool.has_room(0)
        spool.acknowledge(spool.peek(1, 1)[0])
        assert spool.has_room(0)


def test_acknowledged_segments_leave_the_disk(tmp_path: Path) -> None:
    with opened(tmp_path / "spool") as spool:
        for _ in range(200):
            spool.append([b"x" * 20])
            spool.acknowledge(spool.peek(1, 1)[0])
        assert len(list(spool.folder.glob("*.spool"))) == 1


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    with opened(tmp_path / "spool", 10**6) as spool:
        spool.append([b"kept"])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # A limit on the file's size makes the kernel refuse in the middle of an entry, as a full disk does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(OSError, match="too large"):
                spool.append([b"x" * 5000])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        spool.append([b"after"])
        assert everything(spool) == [b"kept", b"after"]


KILLED = """
import sys
from pathlib import Path
from streamtrack.sinks._spool import Spool
spool = Spool(Path(sys.argv[1]), max_bytes=100_000)
spool.open()
number = 0
while True:
    spool.append([b"%d" % n for n in range(number, number + 3)])
    number += 3
    print(number, flush=True)
"""


def test_nothing_appended_is_lost_to_kill_9(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = [int(process.stdout.readline()) for _ in range(200)][-1]
        process.send_signal(signal.SIGKILL)
        said = max([said, *(int(line) for line in process.stdout.read().splitlines())])
    with opened(tmp_path, 100_000) as spool:
        found = [int(payload) for payload in everything(spool)]
    assert found == list(range(len(found)))
    assert len(found) >= said


def filled(folder: Path, count: int) -> list[bytes]:
    """Leave a spool of several segments behind and return what is in it."""
    data = [b"%03d" % n + b"." * (n % 17) for n in range(count)]
    with opened(folder) as spool:
        for payload in data:
            spool.append([payload])
        spool.acknowledge(spool.peek(3, 10**6)[-1])
    return data[3:]


@given(st.data())
def test_a_file_cut_off_anywhere_loses_its_end_and_nothing_else(data: st.DataObject) -> None:
    with TemporaryDirectory(dir=IN_MEMORY) as name:
        folder = Path(name) / "spool"
        before = filled(folder, 30)
        path = data.draw(st.sampled_from(sorted(folder.glob("*.spool"))))
        os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))
        last = path == max(folder.glob("*.spool"))
        with opened(folder) as spool:
            found = everything(spool)
            assert [payload for payload in before if payload in set(found)] == found
            assert not last or found == before[: len(found)]
            spool.append([b"new"])
            assert everything(spool) == [*found, b"new"]
        with opened(folder) as spool:
            assert everything(spool) == [*found, b"new"]


@given(st.data())
def test_a_flipped_bit_anywhere_gives_no_wrong_entry(data: st.DataObject) -> None:
    with TemporaryDirectory(dir=IN_MEMORY) as name:
        folder = Path(name) / "spool"
        before = filled(folder, 30)
        path = data.draw(st.sampled_from([path for path in sorted(folder.iterdir()) if path.name != "lock"]))
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        with opened(folder) as spool:
            found = everything(spool)
            if path.name == "cursor":
                # Repeats at most: whole segments that were acknowledged are gone already.
                assert found[-len(before) :] == before
            else:
                assert [payload for payload in before if payload in set(found)] == found


class SpoolMachine(RuleBasedStateMachine):
    """A spool against a list, over any order of calls, closings and kills."""

    @initialize()
    def begin(self) -> None:
        self.temporary = TemporaryDirectory(dir=IN_MEMORY)
        self.folder = Path(self.temporary.name) / "spool"
        self.model: list[bytes] = []
        self.number = 0
        self.open()

    def open(self) -> None:
        self.spool = Spool(self.folder, max_bytes=SMALL)
        self.spool.open()

    @rule(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4))
    def append(self, sizes: list[int]) -> None:
        new = [b"%d:" % (self.number + n) + b"x" * size for n, size in enumerate(sizes)]
        self.number += len(new)
        self.spool.append(new)
        self.model += new

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        entries = self.spool.peek(data.draw(st.integers(1, 20)), data.draw(st.integers(1, 500)))
        assert payloads(entries) == self.model[: len(entries)]
        count = data.draw(st.integers(1, len(entries)))
        assert self.spool.acknowledge(entries[count - 1]) == count
        del self.model[:count]

    @rule()
    def drop(self) -> None:
        dropped = self.spool.drop_oldest()
        del self.model[:dropped]

    @rule()
    def close_and_open(self) -> None:
        self.spool.close()
        self.open()

    @rule(rubbish=st.binary(min_size=1, max_size=40))
    def be_killed_in_the_middle_of_an_entry(self, rubbish: bytes) -> None:
        self.spool._release()
        if segments := sorted(self.folder.glob("*.spool")):
            with segments[-1].open("ab") as file:
                file.write(rubbish)
        self.open()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert everything(self.spool) == self.model
        assert self.spool.waiting == len(self.model)

    def teardown(self) -> None:
        with suppress(AttributeError):
            self.spool.close()
            self.temporary.cleanup()


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=40, stateful_step_count=25)
