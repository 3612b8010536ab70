import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import streamtrack
from streamtrack.cli import demo
from streamtrack.demo import clip
from streamtrack.demo.truth import TrueFace, Truth
from streamtrack.testing.results import make_frame, make_info, make_result

FACE = (10.0, 10.0, 60.0, 70.0)


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_parser(parser.add_subparsers())
    return parser.parse_args(["demo", *arguments])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Stand-ins for what is tested elsewhere: fetching, rendering, the pipeline. Collects what the latter is given."""
    faces = tuple(TrueFace(frame_idx=n, person="Collins", bbox=FACE, visible=1.0, track=1) for n in range(4))
    truth = Truth(frames=4, fps=25.0, width=320, height=240, shots=((0, 4),), max_gap_s=2.5, faces=faces)
    made: list[dict[str, Any]] = []

    def run(source: Any, **settings: Any) -> Any:
        made.append({"source": source, **settings})
        for sink in settings["sinks"]:
            if not isinstance(sink, str):
                sink.open(make_info(None))
                for n in range(4):
                    sink.write(make_result(make_frame(n), [(1 if n < 3 else 2, FACE)]))
                sink.close()
        return SimpleNamespace()

    monkeypatch.setattr("streamtrack.cli._terminal.show_summary", lambda summary: None)
    monkeypatch.setattr("streamtrack.fetch.fetch", lambda asset, cache, progress: SimpleNamespace(path=tmp_path))
    monkeypatch.setattr(clip, "write_clip", lambda folder, portraits: (folder / "clip.mp4", truth))
    monkeypatch.setattr(streamtrack, "run", run, raising=False)
    return made


def test_the_rendered_clip_is_compared_with_its_truth(
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.run(parse("--out", "there")) == 0
    (call,) = calls
    assert call["source"] == Path("there") / "clip.mp4"
    assert (call["out"], call["overwrite"]) == (Path("there"), True)
    assert call["set"] == {"source.stride": 1, "output.save_crops": True, "output.save_frames": False}
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "Tracks: 2 found, 1 true; each of those found on a face.",
        "person   true tracks  found  frames in view  tracked  id switches",
        "Collins            1      2               4  100.0 %            1",
        "Look at there/annotated.mp4 and there/report.html.",
    ]


def test_a_video_of_ones_own_has_no_truth(calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run(parse("mine.mp4", "--stride", "3", "--model", "yunet")) == 0
    (call,) = calls
    assert call["source"] == "mine.mp4"
    assert (call["set"]["source.stride"], call["set"]["detector.model"]) == ("3", "yunet")
    assert call["sinks"] == ["video", "report"]
    assert capsys.readouterr().out == "Look at demo/annotated.mp4 and demo/report.html.\n"


@pytest.mark.parametrize(
    ("arguments", "stride"),
    [
        ((), 1),
        (("--fps", "5"), None),
        (("--profile", "fast_cpu"), None),
        (("--stride", "2"), "2"),
        (("--set", "source.fps=5"), None),
    ],
)
def test_every_frame_is_looked_at_unless_one_says_otherwise(
    calls: list[dict[str, Any]], arguments: tuple[str, ...], stride: object
) -> None:
    demo.run(parse(*arguments))
    assert calls[0]["set"].get("source.stride") == stride


def test_pools_of_libraries_are_held_to_the_threads_of_its_profile(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []
    monkeypatch.setattr("streamtrack.config.limit_library_threads", limits.append)
    demo.run(parse("--profile", "fast_cpu"))
    demo.run(parse("--set", "runtime.threads=3"))
    assert limits == [2, 3]
