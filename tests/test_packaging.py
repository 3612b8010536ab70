"""What leaves the repository: the wheel, the pins, and the Makefile that everybody meets first."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from streamtrack import config

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = ["help", "demo", "test", "check", "bench", "bench-tracker", "lint", "type", "fmt", "build", "clean"]

needs_make = pytest.mark.requires(program="make", install="apt-get install make")


# --- the wheel ---


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_packages_the_profiles_and_the_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    profiles = {f"streamtrack/profiles/{path.name}" for path in (ROOT / "profiles").glob("*.yaml")}
    sources = {
        path.relative_to(root).as_posix() for root in (ROOT / "src", ROOT / "backends") for path in root.rglob("*.py")
    }
    assert profiles | sources | {"streamtrack/py.typed"} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert all(top == "streamtrack" or top.startswith("streamtrack_") for top in tops)


def test_the_wheel_says_what_pyproject_says(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    fields = email.message_from_bytes(archive.read(metadata))
    said = {str(Requirement(text)) for text in fields.get_all("Requires-Dist", [])}
    assert {str(Requirement(text)) for text in PROJECT["project"]["dependencies"]} <= said
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields["Version"] == PROJECT["project"]["version"]
    entry_points = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    for group in PROJECT["project"]["entry-points"]:
        assert f"[{group}]" in entry_points


def test_an_unpacked_wheel_finds_its_profiles(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from streamtrack import config; print(config.__file__, *sorted(config.profiles().values()), sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "nobody")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    module, *found = done.stdout.splitlines()
    assert Path(module).is_relative_to(tmp_path)
    assert found == [
        str(tmp_path / "streamtrack/profiles" / p.name) for p in sorted((ROOT / "profiles").glob("*.yaml"))
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_profile_begins_with_when_to_use_it_and_resolves(path: Path) -> None:
    assert re.match(r"# Use this .+[.]\n[^#]", path.read_text(encoding="utf-8"))
    resolved = config.resolve(str(path), environ={})
    assert set(resolved.origins.values()) == {f"profile {path}"}
    assert {"source.stride", "source.fps", "detector.batch_size", "output.save_frames"} <= set(resolved.origins)


def test_the_profiles_are_ordered_from_fast_to_accurate() -> None:
    fast, usual, accurate = (
        config.resolve(name, environ={}).config for name in ("fast_cpu", "balanced", "high_accuracy")
    )
    assert fast.source.stride > usual.source.stride > accurate.source.stride == 1
    assert fast.source.fps < usual.source.fps < accurate.source.fps
    assert config.DEFAULT_PROFILE == "balanced"
    assert (fast.output.save_frames, fast.output.save_crops) == (False, False)


# --- the pins ---

PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9-]*)==\S+( ; [^\\]+)?(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)$")


def pins(name: str) -> set[str]:
    """Read a requirements file, every line of which must be an exact pin with hashes, and return the names."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    lines = re.sub(r" \\\n +", " ", text).splitlines()
    matches = [(PIN.match(line), line) for line in lines if not line.startswith("#")]
    assert [line for match, line in matches if not match] == []
    return {match["name"] for match, _ in matches if match}


def names_of(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def test_every_dependency_is_pinned_with_hashes() -> None:
    run, dev, peers = pins("run.txt"), pins("dev.txt"), pins("peers.txt")
    assert names_of(PROJECT["project"]["dependencies"]) <= run <= dev
    assert names_of(PROJECT["dependency-groups"]["dev"]) <= dev
    assert names_of(PROJECT["dependency-groups"]["peers"]) | run <= peers
    assert not run & {"pytest", "mypy", "ruff", "scipy", "hypothesis"}


def test_the_pins_of_all_files_agree() -> None:
    files = ("run.txt", "dev.txt", "peers.txt")
    text = {name: (ROOT / "requirements" / name).read_text(encoding="utf-8") for name in files}
    versions = {name: set(re.findall(r"^[a-z0-9-]+==.*[^\\\s]", text[name], re.MULTILINE)) for name in text}
    assert versions["run.txt"] <= versions["dev.txt"]
    assert versions["run.txt"] <= versions["peers.txt"]


# --- the Makefile ---


Make = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Run make on a virtual environment of its own, away from what the make above us exported."""
    inherited = {
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
        "PYTHON",
        "UV",
        "VENV",
        "VIDEO",
        "STRIDE",
        "FPS",
        "MODEL",
        "PROFILE",
    }

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key not in inherited}
        command = ["make", "--no-print-directory", f"VENV={tmp_path / 'venv'}", *arguments]
        return subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=False)

    return run


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@needs_make
def test_make_alone_lists_every_target(make: Make) -> None:
    listed = re.findall(r"^  ([a-z-]+) +\S", make().stdout, re.MULTILINE)
    assert set(TARGETS) <= set(listed)


@needs_make
@pytest.mark.parametrize("answer", ["exit 127", "echo", "exit 0"])
def test_a_python_that_does_not_do_is_refused_by_name(make: Make, tmp_path: Path, answer: str) -> None:
    # A version manager's shim that fails, and a Python 3.10 that runs but prints nothing.
    shim = script(tmp_path / "bin" / "python3.10", answer)
    done = make("lint", f"PYTHON={shim}")
    assert done.returncode != 0
    assert f"needs Python 3.11, 3.12 or 3.13, and none of these is one: {shim}" in done.stderr
    assert "make lint PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()


@needs_make
def test_the_first_python_that_really_runs_is_taken(make: Make, tmp_path: Path) -> None:
    script(tmp_path / "bin" / "python3", "exit 127")
    script(tmp_path / "bin" / "python3.13", "exit 127")
    script(tmp_path / "bin" / "python3.12", f'exec "{sys.executable}" "$@"')
    uv = script(tmp_path / "bin" / "uv", f'[ "$1" = --version ] || echo "$@" >"{tmp_path}/asked"')
    make(f"{tmp_path}/venv/bin/python", f"UV={uv}", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    asked = (tmp_path / "asked").read_text(encoding="utf-8").split()
    assert asked[0] == "venv"
    assert asked[asked.index("--python") + 1] == sys.executable
    assert asked[-1] == str(tmp_path / "venv")


@needs_make
def test_pip_takes_over_where_uv_is_absent_or_fails(make: Make, tmp_path: Path) -> None:
    script(tmp_path / "venv/bin/python", f'echo "$@" >>"{tmp_path}/asked"')
    uv = script(tmp_path / "bin" / "uv", '[ "$1" = --version ]')
    for choice in ("UV=", f"UV={uv}", "UV=/nonexistent/uv"):
        (tmp_path / "asked").unlink(missing_ok=True)
        (tmp_path / "venv/.run").unlink(missing_ok=True)
        assert make(f"{tmp_path}/venv/.run", choice).returncode == 0
        asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
        assert len(asked) == 2
        assert asked[0].startswith("-m pip install")
        assert "--require-hashes -r requirements/run.txt" in asked[0]
        assert asked[1].endswith("--no-deps --no-build-isolation -e .")
    assert make(f"{tmp_path}/venv/.run").returncode == 0


@needs_make
def test_demo_hands_on_any_file_name(make: Make, tmp_path: Path) -> None:
    script(tmp_path / "venv/bin/streamtrack", 'printf "%s\\n" "$@"')
    script(tmp_path / "venv/bin/python", "true")
    (tmp_path / "venv/.run").touch()
    assert make("demo").stdout.splitlines() == ["demo", "--out", "demo"]
    video = 'my "holiday"; it\'s & done.mp4'
    done = make("demo", f"VIDEO={video}", "STRIDE=2", "MODEL=centerface")
    assert done.stdout.splitlines() == ["demo", video, "--out", "demo", "--stride", "2", "--model", "centerface"]


def test_what_ci_runs_is_make_check() -> None:
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    assert "make check" in text
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    bash = shutil.which("bash")
    assert bash is None or subprocess.run([bash, "-n", str(ROOT / ".ci" / "run")], check=False).returncode == 0
