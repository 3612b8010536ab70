"""``streamtrack bench`` as a person and a program see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamtrack import cli
from streamtrack.benching.campaign import Campaign, Step
from streamtrack.cli.bench import describe
from streamtrack.errors import ConfigError
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import square_frames, write_square_detector


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("STREAMTRACK_MODEL_DIR", str(tmp_path / "models"))


@pytest.fixture
def bench(tmp_path: Path) -> list[str]:
    """The shortest benchmark: one case, one profile."""
    model = write_square_detector(tmp_path / "squares.onnx")
    clip = write_clip(tmp_path / "clip.mp4", square_frames(40, [(20, 20, 2, 1)], width=320, height=192))
    profile = tmp_path / "quick.yaml"
    profile.write_text("source: {stride: 4}\n")
    return [
        "bench", "--models", str(model), "--clip", str(clip), "--sizes", "320", "--threads", "1", "--seconds", "0.1",
        "--rounds", "1", "--profiles", str(profile), "--backends", "onnx", "--devices", "cpu", "--out",
        str(tmp_path / "out"),
    ]  # fmt: skip


def test_a_table_a_report_and_a_page(bench: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(bench) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert "one call of the model" in lines
    (row,) = (line for line in lines if line.startswith("onnx cpu"))
    assert row.split()[2:6] == ["squares", "320x192", "1", "1"]
    assert row.endswith("all 12")
    assert f"Written to {tmp_path / 'out' / 'bench.json'} and {tmp_path / 'out' / 'bench.html'}." in lines
    assert "streamtrack: 2/3 onnx cpu, squares, 320 px, 1 thread, batch 1  ETA" in captured.err
    report = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert (report["schema_version"], report["status"], report["clip"]) == (1, "complete", "clip.mp4")
    assert [case["outcome"] for case in report["cases"]] == ["ok"]
    assert [each["outcome"] for each in report["pipelines"]] == ["ok"]
    assert (tmp_path / "out" / "bench.html").read_text().startswith("<!doctype html>")

    saved = str(tmp_path / "out" / "bench.json")
    assert cli.main(["bench", "compare", saved, saved, "--all"]) == 0
    printed = capsys.readouterr().out
    assert "0 of 8 figures moved beyond noise." in printed
    assert "1.000" in printed


def test_an_interrupt_leaves_a_report(
    bench: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Campaign) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Campaign, "conduct", interrupted)
    assert cli.main([*bench, "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["status"] == "interrupted"
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["status"] == "interrupted"
    assert "Not complete" in (tmp_path / "out" / "bench.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--sizes", "big"], "--sizes big cannot be read: give numbers"),
        (["--sizes", ""], "--sizes  cannot be read"),
        (["--threads=-1"], "--threads -1 cannot be read"),
        (["--seconds", "0"], "--seconds 0 cannot be"),
        (["--slo", "fast"], "such as p95=200ms"),
        (["--backends", "onnyx"], "there is no 'onnyx'. Did you mean 'onnx'?"),
        (["--profiles", "fastcpu"], "There is no profile 'fastcpu'"),
        (["--clip", "absent.mp4"], "There is no clip absent.mp4"),
    ],
)
def test_what_cannot_be(
    bench: list[str], arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main([*bench, *arguments]) == ConfigError.exit_code
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_model_and_no_folder(bench: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--out", str(tmp_path / "out")]) == 2
    assert "streamtrack models pull yunet" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main([*bench, "--out", str(tmp_path / "file" / "out")]) == 6
    assert "cannot be made" in capsys.readouterr().err


def test_comparing_what_is_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "a.json cannot be read" in capsys.readouterr().err


def test_steps_in_words() -> None:
    assert describe(Step(1, 9, "onnx cpu", 75.0)) == "2/9 onnx cpu  ETA 1:15"
    assert describe(Step(0, 0, "looking", None)) == "looking"
