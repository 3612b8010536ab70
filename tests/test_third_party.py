"""A package of somebody else, built, installed and run as its users would: the one that the documentation shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tests" / "third_party"
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


def shown(language: str, heading: str) -> str:
    """Return the first block of a language under a heading of the plug-in page."""
    section = PAGE.partition(f"\n## {heading}\n")[2] if heading else PAGE
    block = re.search(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert block
    return block[1]


@pytest.mark.parametrize(
    ("heading", "language", "path"),
    [
        ("", "toml", "pyproject.toml"),
        ("A sink", "python", "streamtrack_example/counts.py"),
        ("A source", "python", "streamtrack_example/stills.py"),
        ("A backend", "python", "streamtrack_example/constant.py"),
    ],
)
def test_the_package_is_what_the_page_shows(heading: str, language: str, path: str) -> None:
    assert (PACKAGE / path).read_text(encoding="utf-8") == shown(language, heading)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the package, installed without a network."""
    place = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--no-compile"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *options, "--target", str(place), str(PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {**os.environ, "PYTHONPATH": str(place)}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streamtrack", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_it_is_listed_with_its_version(environment: dict[str, str]) -> None:
    done = run(environment, "plugins")
    assert done.returncode == 0, done.stderr
    for name in ("counts", "stills", "constant"):
        (line,) = (line for line in done.stdout.splitlines() if re.search(rf"\b{name}\b", line))
        assert "streamtrack-example 1.0" in line
        assert "broken" not in line


def test_a_run_takes_source_backend_and_sink_from_it(environment: dict[str, str], tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for n in range(4):
        Image.new("RGB", (96, 64), (60 * n, 90, 120)).save(pictures / f"{n}.jpg")
    # One face in the middle, 80 px wide, in the tensors of CenterFace at a quarter of the size.
    heat, scale = np.zeros((1, 1, 160, 160)), np.full((1, 2, 160, 160), np.log(20.0))
    heat[0, 0, 60, 80] = 0.9
    offset, landmarks = np.zeros((1, 2, 160, 160)), np.zeros((1, 10, 160, 160))
    tensors = {"537": heat, "538": scale, "539": offset, "540": landmarks}
    np.savez(tmp_path / "model.npz", **{name: tensor.astype(np.float32) for name, tensor in tensors.items()})
    model = ["--model", str(tmp_path / "model.npz"), "--head", "centerface", "--backend", "constant"]
    sinks = ["--sink", "counts:minimum=1", "--stride", "1", "--set", "detector.min_size=0"]
    done = run(environment, "run", f"stills:{pictures}", *model, *sinks, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "run" / "counts.csv").read_text(encoding="utf-8").splitlines()
    assert rows == ["frame,seconds,tracks", "0,0.000,1", "1,1.000,1", "2,2.000,1", "3,3.000,1"]
