"""The suite's own guards can fail: a run of pytest inside pytest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

INNER = """
import threading

import pytest

stop = threading.Event()


def test_leaks():
    threading.Thread(target=stop.wait, args=(10,), name="streamtrack-forgotten").start()


def test_is_not_blamed_for_it():
    stop.set()


@pytest.mark.requires(program="no-such-program", install="apt-get install it")
def test_needs_a_program():
    pass


@pytest.mark.requires(module="no_such_module", install="pip install it")
def test_needs_a_module():
    pass


@pytest.mark.requires(typelib="NoSuchLibrary-1.0", install="apt-get install it")
def test_needs_a_typelib():
    pass


@pytest.mark.requires(program="python3", module="json", install="")
def test_has_what_it_needs():
    pass


def test_needs_data(shared_data):
    pass
"""


def inner_run(folder: Path, ci: str, *processes: str) -> str:
    """Run the tests above beside a copy of our conftest.py and return pytest's short summary."""
    shutil.copy(Path(__file__).parent / "conftest.py", folder)
    (folder / "test_inner.py").write_text(INNER, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-rA", "-q", "-p", "no:cacheprovider", "-p", "no:cov", "--rootdir", "."]
    command += processes
    environment = {**os.environ, "CI": ci, "STREAMTRACK_TEST_DATA": str(folder / "absent")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout


@pytest.mark.parametrize(("ci", "verdict", "processes"), [("", "SKIPPED", ()), ("true", "ERROR", ("-n", "1"))])
def test_the_guards_can_fail(tmp_path: Path, ci: str, verdict: str, processes: tuple[str, ...]) -> None:
    out = inner_run(tmp_path, ci, *processes)
    assert "threads outlived the test: streamtrack-forgotten" in out
    passed = re.findall(r"^PASSED test_inner\.py::(\w+)", out, re.MULTILINE)
    assert passed == ["test_leaks", "test_is_not_blamed_for_it", "test_has_what_it_needs"]
    assert "ERROR test_inner.py::test_leaks" in out
    summary = [line for line in out.splitlines() if line.startswith(verdict)]
    assert any("the program 'no-such-program' is missing: apt-get install it" in line for line in summary)
    assert any("the module 'no_such_module' is missing: pip install it" in line for line in summary)
    assert any("the system's Python has no 'NoSuchLibrary-1.0': apt-get install it" in line for line in summary)
    # Reference data is not something that CI could install.
    assert re.search(r"^SKIPPED .*no reference data: set STREAMTRACK_TEST_DATA", out, re.MULTILINE)


class Worker:
    """Stands in for a process that takes tests."""

    gateway = SimpleNamespace(id="one")
    shutting_down = False

    def __init__(self) -> None:
        self.asked: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.asked += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_processes_share_the_tests_by_file_and_one_begins_with_all_live_feeds(pytestconfig: pytest.Config) -> None:
    (guards,) = (plugin for plugin in pytestconfig.pluginmanager.get_plugins() if hasattr(plugin, "Shares"))
    two = SimpleNamespace(getvalue=lambda name: ["2*popen"], option=SimpleNamespace(loadscopereorder=True))
    files = ["cli/test_run.py"] * 4 + ["live/test_faults.py"] * 2 + ["live/test_feeds.py"] * 3 + ["test_types.py"] * 3
    tests = [f"tests/{file}::test_{n}[a::b]" for n, file in enumerate(files)]
    shares, workers = guards.Shares(two, None), [Worker(), Worker()]
    for worker in workers:
        shares.add_node(worker)
    for worker in workers:
        shares.add_node_collection(worker, tests)
    shares.schedule()
    assert [worker.asked for worker in workers] == [[4, 5, 6, 7, 8], [0, 1, 2, 3]]
    for index in range(4):
        shares.mark_test_complete(workers[1], index)
    assert workers[1].asked == [0, 1, 2, 3, 9, 10, 11]
