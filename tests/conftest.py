"""What every test may count on: shared clips where they exist, no leaked threads, no test that CI quietly skips."""

from __future__ import annotations

import faulthandler
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from streamtrack.layers import OLD_NAMES, PREFIX, THREAD_LIMITS

ROOT = Path(__file__).resolve().parent.parent
_LIVE = "tests/live/"
_LEAK_GRACE_S = 1.0

# Time says nothing on a shared machine. In CI the examples are the same in every run, so a red run can be repeated.
settings.register_profile(
    "streamtrack",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("streamtrack")


def pytest_configure(config: pytest.Config) -> None:
    # Whoever runs the tests may have settings of his own, and what the profiles refuse as too small is most of what
    # the small pictures made here hold.
    for name in list(os.environ):
        if name in (*OLD_NAMES, *THREAD_LIMITS) or (name.startswith(PREFIX) and "__" in name):
            del os.environ[name]
    os.environ["STREAMTRACK_DETECTOR__MIN_SIZE"] = "20px"
    config.addinivalue_line(
        "markers",
        "requires(program=..., module=..., typelib=..., install=...): skip where one of them is missing; fail in CI",
    )
    # Coverage follows the processes that share the tests, and no further: programs run as they do for their users.
    if hasattr(config, "workerinput"):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    # A look inside a run that seems stuck: kill -USR1. A test that takes minutes shows all stacks on its own.
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, all_threads=True)
    # A job in the background is started with SIGINT ignored, and so would be every program that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_BEGUN = pytest.StashKey[bool]()


class Shares(LoadFileScheduling):
    """How processes share the tests: file by file, since what a file's tests have in common is made once.

    Live feeds are one process's, all of them: what they wait for must not wait for one another. They come first, since
    they take longest and leave the others most of the processor.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _LIVE if nodeid.startswith(_LIVE) else str(super()._split_scope(nodeid))

    def _assign_work_unit(self, node: WorkerController) -> None:
        if _LIVE in self.workqueue:
            self.workqueue.move_to_end(_LIVE, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Shares:
    return Shares(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if hasattr(item.config, "workerinput") and _BEGUN not in item.config.stash:
        item.config.stash[_BEGUN] = True
        if not item.nodeid.startswith(_LIVE):
            os.nice(5)  # feeds keep their time, whatever is computed beside them
    for mark in item.iter_markers("requires"):
        message = missing(**mark.kwargs)
        if message and os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        elif message:
            pytest.skip(message)


def missing(*, program: str = "", module: str = "", typelib: str = "", install: str) -> str:
    """Return one line that says what is missing and how to install it, or ``""``."""
    if program and shutil.which(program) is None:
        return f"the program '{program}' is missing: {install}"
    if module and importlib.util.find_spec(module) is None:
        return f"the module '{module}' is missing: {install}"
    if typelib and not has_typelib(typelib):
        return f"the system's Python has no '{typelib}': {install}"
    return ""


@functools.lru_cache
def has_typelib(name: str) -> bool:
    """Return whether Debian's own Python, which alone has such bindings, can use a GObject library."""
    namespace, _, version = name.rpartition("-")
    code = f"import gi; gi.require_version({namespace!r}, {version!r})"
    try:
        return subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real clips and reference data too large or not free enough for the repository."""
    folder = Path(os.environ.get("STREAMTRACK_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no reference data: set STREAMTRACK_TEST_DATA to its folder")
    return folder


def survivors(grace_s: float) -> list[str]:
    """Return the names of streamtrack's threads that are still alive after ``grace_s`` seconds."""
    deadline = time.monotonic() + grace_s
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("streamtrack-")]
    for thread in ours:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in ours if thread.is_alive()]


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is measured of a test's model out of the user's cache, and the other way round."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMTRACK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _no_leaked_threads() -> Iterator[None]:
    """Fail the test that leaves one of streamtrack's threads behind, not a later one that suffers from it."""
    yield
    alive = survivors(_LEAK_GRACE_S)
    assert not alive, f"threads outlived the test: {', '.join(alive)}"
