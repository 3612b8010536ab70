"""Brokers on loopback that can be killed and started again, and what must hold after that."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from streamtrack.sinks._delivery import StreamSink
from streamtrack.testing.results import make_info, walk
from streamtrack.types import Result

PATIENCE_S = 20.0
FAST: dict[str, Any] = {
    "retry_first_s": 0.02, "retry_max_s": 0.1, "linger_ms": 0, "batch": 5, "close_timeout_s": PATIENCE_S,
}  # fmt: skip
"""Options of a sink for tests: nothing waits for long, and batches are small enough to be many."""


def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def story() -> list[Result]:
    """Some hundred records of all kinds."""
    return list(walk(60, tracks=3, width=64, height=48))


class Server:
    """A program that listens on a port of its own and keeps its data below ``folder``."""

    def __init__(self, command: Callable[[int], Sequence[str]]) -> None:
        self.port = free_port()
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command(self.port), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._listens)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the server ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def ids_in_order(bodies: Sequence[bytes]) -> list[int]:
    """Return the numbers in the ids of JSON messages, repeats left out."""
    seen = dict.fromkeys(msgspec.json.decode(body)["message_id"] for body in bodies)
    return [int(message_id.rpartition("-")[2]) for message_id in seen]


def run_through_a_kill(sink: StreamSink, server: Server, folder: Path) -> int:
    """Kill the broker in the middle of a run, start it again later on, and return how many messages there were."""
    results = story()
    sink.open(make_info(folder))
    for result in results[:40]:
        sink.write(result)
    until(lambda: sink.counts()["delivered"] >= 20)
    server.kill()
    for result in results[40:]:
        sink.write(result)
    until(lambda: sink.counts()["waiting"] > 0)
    server.start()
    sink.close()
    counts = sink.counts()
    assert counts["messages"] == counts["delivered"] > 150
    assert (counts["waiting"], counts["dropped"]) == (0, 0)
    assert counts["reconnects"] >= 1
    assert not any(folder.iterdir())
    return counts["messages"]
