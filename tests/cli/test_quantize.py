"""``streamtrack models quantize``: what it prints. What it does: ``tests/test_quantizing.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from streamtrack import quantizing
from streamtrack.cli import main
from streamtrack.cli._quantize import _show, describe
from streamtrack.quantizing import Cost, Quantized, Wanted

COST = Cost(8, 20, 19, 18, 0.93, 0.01, 0.05, ms=10.0, int8_ms=5.0)


@pytest.fixture
def made(tmp_path: Path) -> Quantized:
    original, path = tmp_path / "faces.onnx", tmp_path / "faces_int8.onnx"
    original.write_bytes(bytes(4_000_000))
    path.write_bytes(bytes(1_000_000))
    return Quantized(original, path, "yunet", calibrated_on=8, seen=21, cost=COST)


@pytest.fixture
def asked(made: Quantized, monkeypatch: pytest.MonkeyPatch) -> list[Wanted]:
    """What was asked for; ``made`` is what comes of it."""
    asked: list[Wanted] = []

    def quantize(wanted: Wanted, *, say: Callable[[str], None], progress: Callable[[str, int, int], None]) -> Quantized:
        asked.append(wanted)
        say("calibrating")
        progress("calibrating", 8, 8)
        return made

    monkeypatch.setattr(quantizing, "quantize", quantize)
    return asked


def test_the_cost_is_printed(asked: list[Wanted], made: Quantized, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "quantize", "yunet", "--calibrate", "a.mp4", "--frames", "8"]) == 0
    assert asked == [Wanted("yunet", "a.mp4", None, None, 8)]
    said = capsys.readouterr()
    assert said.err == "streamtrack: calibrating\n"
    assert said.out.splitlines() == [
        f"{made.path}: 1.00 MB instead of 4.00, calibrated on 8 frames",
        "against the original, on 8 other frames:",
        "  boxes      19 instead of 20; precision 0.947, recall 0.900",
        "  overlap    0.930 on average (IoU)",
        "  scores     off by 0.010 on average, 0.050 at worst",
        "  inference  5.0 ms instead of 10.0: 2.00 times as fast",
        f"Use it with --model {made.path} --head yunet.",
    ]


def test_the_cost_as_json(asked: list[Wanted], made: Quantized, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(made.path), "--head", "yunet"]
    assert main(["models", "quantize", "faces.onnx", "--calibrate", "a.mp4", *out, "--json"]) == 0
    assert asked == [Wanted("faces.onnx", "a.mp4", made.path, "yunet", 32)]
    assert json.loads(capsys.readouterr().out)["cost"]["speed"] == 2.0


def test_what_is_not_worth_it_or_says_nothing_is_told(made: Quantized) -> None:
    slow = made._replace(cost=COST._replace(int8_ms=12.0))
    assert describe(slow).endswith("On this machine it is not worth it: keep the original.")
    blind = made._replace(seen=0, cost=COST._replace(boxes=0, found=0, shared=0))
    assert "take a video with something to find" in describe(blind)
    assert "this says nothing about its accuracy" in describe(blind)


def test_frames_must_be_some(asked: list[Wanted], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "quantize", "yunet", "--calibrate", "a.mp4", "--frames", "0"]) == 2
    assert "--frames must be at least 1" in capsys.readouterr().err
    assert asked == []


def test_a_terminal_sees_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _show("measuring", 1, 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    _show("measuring", 1, 2)
    _show("measuring", 2, 2)
    assert capsys.readouterr().err == "\rmeasuring 1/2 \rmeasuring 2/2 \n"
