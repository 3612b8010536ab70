"""Where compiled kernels are kept: on a usual machine, on a read-only one, and on one with no place at all."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from streamtrack.tracking import _jit


class Machine:
    """A made-up machine: a package, a home and a folder for temporary files, each of which can be closed."""

    def __init__(self, root: Path) -> None:
        self.package, self.home, self.temporary = root / "package", root / "home", root / "tmp"
        for folder in (self.package, self.home, self.temporary):
            folder.mkdir()
        (self.package / "a.py").write_text("x = 1\n")

    def close(self, *folders: Path) -> None:
        # A file in the place of a folder: that stops root, too, whom no permission stops.
        for folder in folders:
            if folder.is_dir():
                folder.rmdir()
            folder.write_text("")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(_jit, "_PACKAGE", made.package)
    monkeypatch.setattr(_jit._config, "CACHE_DIR", "")
    monkeypatch.setattr("tempfile.tempdir", str(made.temporary))
    monkeypatch.setenv("HOME", str(made.home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return made


def test_the_package_itself_is_the_usual_place(machine: Machine) -> None:
    folder, note = _jit._place()
    assert folder is not None
    assert folder.parent == machine.package / "__pycache__"
    assert note is None


def test_an_edit_of_any_source_is_another_folder_and_the_old_one_goes(machine: Machine) -> None:
    before, _ = _jit._place()
    (machine.package / "b.py").write_text("")
    (machine.package / "a.py").write_text("x = 2\n")
    after, _ = _jit._place()
    assert before is not None
    assert after is not None
    assert before != after
    assert list(after.parent.iterdir()) == [after]


def test_a_read_only_package_uses_the_home_and_says_so(machine: Machine) -> None:
    machine.close(machine.package / "__pycache__")
    folder, note = _jit._place()
    assert folder is not None
    assert folder.parent == machine.home / ".cache" / "streamtrack"
    assert note == f"compiled kernels are kept in {folder.parent}: cannot write to {machine.package / '__pycache__'}"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_no_place(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: contextlib.nullcontext(full))
        assert _jit._place()[0] is None


def test_the_users_cache_folder_is_honoured(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.close(machine.package / "__pycache__")
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.home / "elsewhere"))
    folder, _ = _jit._place()
    assert folder is not None
    assert folder.parent == machine.home / "elsewhere" / "streamtrack"


def test_without_a_home_a_private_temporary_folder_is_used(machine: Machine) -> None:
    machine.close(machine.package / "__pycache__", machine.home)
    folder, note = _jit._place()
    assert folder is not None
    assert folder.parent.parent == machine.temporary
    assert not folder.parent.stat().st_mode & 0o077
    assert note is not None


@pytest.mark.skipif(os.name == "nt", reason="permissions are those of POSIX")
def test_a_temporary_folder_that_others_may_write_to_is_not_trusted(machine: Machine) -> None:
    machine.close(machine.package / "__pycache__", machine.home)
    planted = machine.temporary / f"streamtrack-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert _jit._place()[0] is None


def test_with_no_place_at_all_kernels_are_not_kept(machine: Machine) -> None:
    machine.close(machine.package / "__pycache__", machine.home, machine.temporary)
    folder, note = _jit._place()
    assert folder is None
    assert note is not None
    assert "NUMBA_CACHE_DIR" in note


def test_numbas_own_setting_comes_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jit._config, "CACHE_DIR", str(machine.home / "numba"))
    folder, note = _jit._place()
    assert folder is not None
    assert folder.parent == machine.home / "numba"
    assert note is None


def test_numbas_settings_stay_as_they_were() -> None:
    before = numba.config.CACHE_DIR

    @_jit.kernel
    def twice(x: int) -> int:
        return 2 * x

    assert twice(21) == 42
    assert before == numba.config.CACHE_DIR


PROGRAM = """
import sys
from streamtrack.tracking import _jit

@_jit.kernel
def twice(x):
    return 2 * x

assert twice(21) == 42
print(_jit.cache_note())
"""


@pytest.mark.parametrize("closed", [False, True])
def test_a_new_process_compiles_and_keeps_what_it_can(tmp_path: Path, closed: bool) -> None:
    caches = tmp_path / "caches"
    caches.write_text("") if closed else caches.mkdir()
    package = tmp_path / "streamtrack" / "tracking"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    (package / "_jit.py").write_bytes(Path(_jit.__file__).read_bytes())
    (package / "__pycache__").write_text("")
    (tmp_path / "program.py").write_text(PROGRAM)
    places = {name: str(caches) for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), **places}
    if closed:
        # Python itself looks for the first of these that exists: a container may have none that can be written.
        (tmp_path / "sitecustomize.py").write_text(f"import tempfile\ntempfile.tempdir = {str(caches)!r}\n")
    done = subprocess.run(
        [sys.executable, "-B", "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    if closed:
        assert done.stdout.startswith("compiled kernels are made anew at every start")
    else:
        assert (
            done.stdout
            == f"compiled kernels are kept in {caches / 'streamtrack'}: cannot write to {package / '__pycache__'}\n"
        )
        assert list(caches.rglob("*.nbi"))
