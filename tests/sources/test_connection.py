from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from streamtrack.sources._connection import Arrival, FeedEnded, FeedError, FeedInfo, ThreadedConnection

LONG_S = 20.0


class Picture:
    def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int], *, planar: bool) -> Any:
        raise AssertionError("nobody looks at it")


def arrival(number: int) -> Arrival:
    return Arrival(Picture(), 8, 8, number, time.monotonic_ns())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_pictures_come_in_order_and_then_the_end_again_and_again() -> None:
    def pictures(connection: ThreadedConnection) -> Generator[Arrival]:
        connection.info = FeedInfo("h264", 25.0)
        for number in range(20):
            yield arrival(number)

    connection = ThreadedConnection(pictures)
    came = [connection.read(LONG_S) for _ in range(20)]
    assert [each.pts_ns for each in came if each] == list(range(20))
    assert connection.info.codec == "h264"
    for _ in range(2):
        with pytest.raises(FeedEnded):
            connection.read(LONG_S)
    wait_until(lambda: connection.ended)


def test_what_came_before_an_error_is_read_first() -> None:
    def pictures(connection: ThreadedConnection) -> Generator[Arrival]:
        yield arrival(0)
        raise FeedError("the wire was cut")

    connection = ThreadedConnection(pictures)
    wait_until(lambda: connection.ended)
    assert connection.read(0) is not None
    with pytest.raises(FeedError, match="the wire was cut"):
        connection.read(0)


def test_an_error_that_nobody_foresaw_reaches_the_reader() -> None:
    def pictures(connection: ThreadedConnection) -> Generator[Arrival]:
        raise ZeroDivisionError
        yield arrival(0)

    with pytest.raises(ZeroDivisionError):
        ThreadedConnection(pictures).read(LONG_S)


def test_reading_waits_no_longer_than_told_whatever_the_library_does() -> None:
    release = threading.Event()

    def pictures(connection: ThreadedConnection) -> Generator[Arrival]:
        release.wait(LONG_S)
        yield arrival(0)

    connection = ThreadedConnection(pictures)
    assert connection.read(0.01) is None
    connection.close()
    assert not connection.ended
    assert connection.read(LONG_S) is None
    release.set()
    wait_until(lambda: connection.ended)


def test_a_full_connection_waits_for_its_reader_and_releases_what_it_holds_when_closed() -> None:
    made, released = [], threading.Event()

    def pictures(connection: ThreadedConnection) -> Generator[Arrival]:
        try:
            for number in range(1000):
                made.append(number)
                yield arrival(number)
        finally:
            released.set()

    connection = ThreadedConnection(pictures)
    assert connection.read(LONG_S) is not None
    connection.close()
    assert released.wait(LONG_S)
    assert len(made) < 20
    wait_until(lambda: connection.ended)


def test_a_program_waits_for_its_readers_at_its_very_end() -> None:
    """A thread inside FFmpeg that meets an interpreter being taken apart would crash the program."""
    script = """if True:
        import socket
        from streamtrack.api import SourceOptions
        from streamtrack.plugins import make_source
        mute = socket.create_server(("127.0.0.1", 0))
        source = make_source(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/x?first_frame_s=1", SourceOptions(), {})
        import threading
        threading.Timer(0.5, source.interrupt).start()
        try:
            source.open()
        except OSError as error:
            print("stopped")
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr
