"""Brokers for tests: started, killed and ended with the test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

# The equipment stands beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

from brokers import Server


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[int], Sequence[str]]], Server]]:
    """Start a server whose command line is told for a port."""
    with ExitStack() as stack:

        def start(command: Callable[[int], Sequence[str]]) -> Server:
            server = Server(command)
            stack.callback(server.kill)
            server.start()
            return server

        yield start
