"""A run that was interrupted anywhere, and resumed, leaves what an undisturbed one does, to the byte."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamtrack
from streamtrack import folder, resuming
from streamtrack.errors import ConfigError, SinkError, SourceError
from streamtrack.resuming import TapedDetector, TapedFrame, TornTape
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import write_quarters_embedder
from streamtrack.testing.results import make_frame
from streamtrack.types import BoxCounts, Detections, Float32Array, Frame

LIGHT = ("crops:min_size=10,min_quality=0,min_confidence=0.5,every_frames=4",)
KILLS = 50
TAPE = (folder.DETECTIONS, folder.FRAMES)


def load_interrupting() -> Any:
    path = Path(__file__).with_name("interrupting.py")
    spec = importlib.util.spec_from_file_location("interrupting", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


interrupting = load_interrupting()


class Whole(NamedTuple):
    """An undisturbed run."""

    clip: str
    model: str
    out: Path
    outputs: dict[str, Any]

    def run(self, out: Path, **options: Any) -> streamtrack.RunSummary:
        summary: streamtrack.RunSummary = interrupting.run(self.clip, self.model, out, **{"sinks": LIGHT, **options})
        return summary

    def interrupted(self, out: Path, *, detections: int | None = None, frames: int | None = None) -> Path:
        """Make a folder as a run leaves it that is killed when its tape has so many bytes; None for all."""
        shutil.copytree(self.out, out)
        for name, size in ((folder.DETECTIONS, detections), (folder.FRAMES, frames)):
            if size is not None:
                os.truncate(out / name, size)
        alter(out / folder.METRICS, status="running")
        (out / "crops" / "000009").mkdir()
        for leftover in (".annotated.mp4.part", f".{folder.PROGRESS}.77", "crops/000009/00000007.jpg", folder.LOCK):
            (out / leftover).write_bytes(b"of the one that was killed")
        return out

    def size(self, name: str) -> int:
        return (self.out / name).stat().st_size

    def half(self, out: Path) -> Path:
        return self.interrupted(out, detections=self.size(folder.DETECTIONS) // 2, frames=self.size(folder.FRAMES) // 2)


def alter(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    work = tmp_path_factory.mktemp("whole")
    clip, model = interrupting.write_material(work)
    out = work / "run"
    found = Whole(clip, model, out, {})
    found.run(out)
    return found._replace(outputs=interrupting.outputs(out))


def untouched(out: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(out)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in out.rglob("*")
        if path.is_file() and path.name != folder.LOCK
    }


# --- to the byte ---


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_runs_killed_at_fifty_random_moments_end_as_if_nothing_had_been(tmp_path: Path) -> None:
    # One thread in what is forked: no library may have begun another before.
    alone = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "STREAMTRACK_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, interrupting.__file__, str(tmp_path), str(KILLS), "7"]
    done = subprocess.run(command, env=os.environ | alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert sum(told["killed"].values()) == KILLS
    assert sum(told["completed"]) > 0


@settings(max_examples=8)
@given(share=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_tape_that_ends_at_any_byte_resumes_to_the_same(
    whole: Whole, tmp_path_factory: pytest.TempPathFactory, share: tuple[float, float]
) -> None:
    sizes = [round(part * whole.size(name)) for part, name in zip(share, TAPE, strict=True)]
    out = whole.interrupted(tmp_path_factory.mktemp("torn") / "run", detections=sizes[0], frames=sizes[1])
    metrics = whole.run(out).metrics
    assert interrupting.differing(out, whole.outputs) == []
    assert metrics.resumed is not None
    assert metrics.resumed.times == 1


@given(share=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_what_is_whole_of_a_torn_tape_is_its_beginning(
    whole: Whole, tmp_path_factory: pytest.TempPathFactory, share: tuple[float, float]
) -> None:
    out = tmp_path_factory.mktemp("torn")
    files = []
    for part, name in zip(share, TAPE, strict=True):
        data = (whole.out / name).read_bytes()
        files.append(out / name)
        files[-1].write_bytes(data[: round(part * len(data))])
    torn = list(TornTape(*files))
    all_of_it = list(TornTape(whole.out / folder.DETECTIONS, whole.out / folder.FRAMES))
    assert len(all_of_it) == interrupting.FRAMES
    for found, expected in zip(torn, all_of_it, strict=False):
        assert (found.index, found.pts_ns, found.cut) == (expected.index, expected.pts_ns, expected.cut)
        assert found.box_counts == expected.box_counts
        np.testing.assert_array_equal(found.detections.boxes, expected.detections.boxes)
        np.testing.assert_array_equal(found.detections.keypoints, expected.detections.keypoints)
    # As much of it as both files hold.
    rows = [line for line in files[0].read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    frames = [json.loads(line) for line in files[1].read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    held = np.cumsum([frame["detections"] for frame in frames])
    assert len(torn) == int((held <= len(rows)).sum())


def test_only_frames_that_are_not_on_the_tape_cost_the_model_anything(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamtrack.models.detector import Detector

    asked: list[int] = []
    detect = Detector.detect

    def counting(self: Detector, frames: list[Frame]) -> list[Detections]:
        asked.extend(frame.index for frame in frames)
        return detect(self, frames)

    monkeypatch.setattr(Detector, "detect", counting)
    out, said = whole.half(tmp_path / "run"), list[str]()
    seen: list[streamtrack.Progress] = []
    metrics = whole.run(out, say=said.append, progress=seen.append).metrics
    assert interrupting.differing(out, whole.outputs) == []
    assert metrics.resumed is not None
    (first,) = metrics.resumed.from_frames
    assert 10 < first < 25
    # The batch that begins on the tape is asked for as a whole, as it was then.
    assert asked == list(range(first - first % 3, interrupting.FRAMES))
    assert said == [f"resuming: {first} frames from the tape"]
    assert {progress.frames_taped for progress in seen} == {first}
    assert all((progress.eta_sec is None) == (progress.frames_done <= first) for progress in seen[:-1])


def test_vectors_are_the_same_too(whole: Whole, tmp_path: Path) -> None:
    model = str(write_quarters_embedder(tmp_path / "quarters.onnx"))
    given = {"embedder.model": model, "embedder.every_frames": 4, "embedder.batch_size": 2}
    embedding = whole._replace(out=tmp_path / "whole")
    embedding.run(embedding.out, set=given)
    expected = interrupting.outputs(embedding.out)
    assert len(expected["faces.jsonl"].splitlines()) > 8
    out = embedding.half(tmp_path / "run")
    embedding.run(out, set=given)
    # How long a vector takes is no matter.
    assert interrupting.differing(out, expected) in ([], [folder.METRICS])
    assert outcome(out) == outcome(embedding.out)


def outcome(out: Path) -> dict[str, Any]:
    counts: dict[str, Any] = json.loads((out / folder.METRICS).read_text())["sinks"]
    return counts


def test_one_that_is_interrupted_by_a_person_is_resumed_too(whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        whole.run(out, progress=interrupt_after(17))
    assert json.loads((out / folder.METRICS).read_text())["status"] == "interrupted"
    # And once more, while it is still on the tape, and again while it moves it.
    with pytest.raises(KeyboardInterrupt):
        whole.run(out, progress=interrupt_after(5))
    os.replace(out / folder.RESUME / folder.DETECTIONS, out / folder.DETECTIONS)
    before = json.loads((out / folder.METRICS).read_text())["run_id"]
    metrics = whole.run(out).metrics
    assert interrupting.differing(out, whole.outputs) == []
    assert metrics.resumed is not None
    assert metrics.resumed.times == 2
    assert metrics.run_id == before != ""
    assert min(metrics.resumed.from_frames) >= 17


def interrupt_after(frames: int) -> Callable[[streamtrack.Progress], None]:
    def progress(progress: streamtrack.Progress) -> None:
        if progress.frames_done == frames:
            raise KeyboardInterrupt

    return progress


def test_a_folder_that_is_killed_while_it_is_taken_over_keeps_its_tape(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def at_step(step: int) -> None:
        steps = count()

        def dying(act: Callable[..., Any]) -> Callable[..., Any]:
            def acting(*args: Any, **kwargs: Any) -> Any:
                if next(steps) == step:
                    raise Killed
                return act(*args, **kwargs)

            return acting

        for owner, name in ((os, "replace"), (Path, "mkdir"), (Path, "unlink"), (shutil, "rmtree")):
            monkeypatch.setattr(owner, name, dying(getattr(owner, name)))

    for step in range(100):
        out = whole.half(tmp_path / str(step))
        before = resuming.read_earlier(out)
        assert before is not None
        with monkeypatch.context() as patch:
            monkeypatch, kept = patch, monkeypatch
            at_step(step)
            try:
                resuming.take_over(before)
                done = True
            except Killed:
                done = False
            monkeypatch = kept
        after = resuming.read_earlier(out)
        assert after is not None
        assert (after.taped, after.next_frame) == (before.taped, before.next_frame)
        if done:
            break
    assert step > 10
    assert sorted(path.name for path in out.iterdir()) == [folder.LOCK, folder.RESUME, folder.METRICS]


# --- what is not resumed ---


def test_a_complete_run_is_left_as_it_is(whole: Whole) -> None:
    said: list[str] = []
    before = untouched(whole.out)
    with streamtrack.Pipeline(
        whole.clip, model=whole.model, stride=1, threads=1, out=whole.out, sinks=LIGHT, set=interrupting.SETTINGS,
        resume=True, say=said.append,
    ) as pipeline:  # fmt: skip
        assert list(pipeline) == []
        assert pipeline.finished
    assert untouched(whole.out) == before
    assert pipeline.summary().metrics.status == "complete"
    assert said == [f"The run in '{whole.out}' is complete: there is nothing to resume."]
    assert not (whole.out / folder.LOCK).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"set": {"detector.min_size": 22}}, "detector.min_size: 20.0 then, 22.0 now."),
        ({"stride": 2, "set": {"tracker.max_gap_s": 9}}, "source.stride: 1 then, 2 now; tracker.max_gap_s: "),
        ({"set": {"detector.classes": "square"}}, 'detector.classes: "" then, square now'),
        ({"sinks": (*LIGHT, "report")}, "sink report: not then, now"),
        ({"sinks": ()}, "sink crops: then, not now"),
        ({"set": {"runtime.precision": "fp16"}}, "runtime.precision: auto then, fp16 now"),
    ],
)
def test_other_settings_are_refused_with_the_difference(
    whole: Whole, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    out = whole.half(tmp_path / "run")
    before = untouched(out)
    with pytest.raises(ConfigError, match="was another one, and is left as it is") as caught:
        whole.run(out, **options)
    assert words in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert untouched(out) == before
    # That it is complete is no news for one who asks for something else.
    with pytest.raises(ConfigError, match="was another one"):
        whole.run(whole.out, **options)


def test_another_file_model_or_version_is_refused(whole: Whole, tmp_path: Path) -> None:
    out = whole.half(tmp_path / "run")
    before = untouched(out)
    longer = write_clip(tmp_path / "squares.mp4", [*interrupting.pictures(), *interrupting.pictures()])
    other = shutil.copy(whole.model, tmp_path / "squares.onnx")
    with open(other, "ab") as file:
        file.write(b"\x00")
    with pytest.raises(ConfigError, match=r"source [\d,]+ bytes \(\w{12}\) then, [\d,]+ bytes \(\w{12}\) now"):
        whole._replace(clip=str(longer)).run(out)
    with pytest.raises(ConfigError, match=r"model \w{12} then, \w{12} now"):
        whole._replace(model=str(other)).run(out)
    assert untouched(out) == before
    alter(out / folder.METRICS, streamtrack_version="0.0.1")
    with pytest.raises(ConfigError, match=r"streamtrack 0\.0\.1 then, "):
        whole.run(out)


def test_what_changes_no_result_may_change(whole: Whole, tmp_path: Path) -> None:
    moved = shutil.copy(whole.clip, tmp_path / "moved.mp4")
    os.utime(moved, (1, 1))
    given = {"runtime.queue_size": 1, "source.threads": 2, "output.progress_every": 7, "runtime.device": "cpu"}
    out = whole.half(tmp_path / "run")
    whole._replace(clip=moved).run(out, threads=2, set=given)
    # They say which settings and which file it was; the records are the same.
    assert set(interrupting.differing(out, whole.outputs)) == {folder.METRICS, folder.PROGRESS}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"out": None}, "only from its folder"),
        ({"out": "-"}, "only from its folder"),
        ({"overwrite": True}, "exclude each other"),
        ({"sinks": ["jsonl:frames="]}, "leave the options 'detections', 'frames', 'compress'"),
        ({"sinks": ["jsonl:detections=found.jsonl"]}, "leave the options 'detections', 'frames', 'compress'"),
        ({"sinks": ["jsonl:compress=gzip"]}, "leave the options 'detections', 'frames', 'compress'"),
        ({"sinks": ["jsonl:when_full=drop"]}, "leave the options 'detections', 'frames', 'compress'"),
    ],
)
def test_what_can_never_be_resumed_is_refused_at_once(
    whole: Whole, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        streamtrack.Pipeline(whole.clip, **{"out": tmp_path / "run", "resume": True, **options})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("source", ["-", "rtsp://camera/live", "http://host/video.mp4", "shots/*.jpg", "replay:out/a"])
def test_only_a_file_is_resumed(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError, match="Only a run of a video file"):
        streamtrack.Pipeline(source, out=tmp_path / "run", resume=True)


def test_a_run_that_kept_no_tape_is_not_begun_anew_unasked(whole: Whole, tmp_path: Path) -> None:
    out = whole.half(tmp_path / "run")
    (out / folder.FRAMES).unlink()
    before = untouched(out)
    with pytest.raises(ConfigError, match=r"kept no frames\.jsonl"):
        whole.run(out)
    (out / folder.METRICS).write_text("{")
    with pytest.raises(ConfigError, match="nothing tells with which settings"):
        whole.run(out)
    assert untouched(out).keys() == before.keys()


def test_a_folder_of_something_else_is_refused_as_ever(whole: Whole, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(SinkError, match="not empty"):
        whole.run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_in_use_is_refused_by_name(whole: Whole, tmp_path: Path) -> None:
    out = whole.half(tmp_path / "run")
    before = untouched(out)
    lock = folder.FolderLock(out)
    for options in ({}, {"resume": False, "overwrite": True}, {"resume": False}):
        with pytest.raises(SinkError, match=rf"in use by another run: process {os.getpid()} on .+, since 20"):
            whole.run(out, **options)
    assert untouched(out) == before
    lock.release()
    whole.run(out)
    assert interrupting.differing(out, whole.outputs) == []


# --- a source that is not what it was ---


def taped(index: int, *, cut: bool = False) -> TapedFrame:
    return TapedFrame(index, index * 40_000_000, cut, Detections.empty(5), BoxCounts(index))


class Asked:
    """A detector that says what it was asked."""

    def __init__(self) -> None:
        self.thumbnails: list[Float32Array] = []
        self.box_counts: list[BoxCounts | None] = []
        self.detected: list[int] = []
        self.looked: list[int] = []
        self.closed = False

    def detect(self, frames: list[Frame]) -> list[Detections]:
        self.detected += [frame.index for frame in frames]
        self._see(frames)
        self.box_counts = [BoxCounts(1000 + frame.index) for frame in frames]
        return [Detections.empty(5) for _ in frames]

    def look(self, frames: list[Frame]) -> None:
        self.looked += [frame.index for frame in frames]
        self._see(frames)

    def _see(self, frames: list[Frame]) -> None:
        self.thumbnails = [np.full((3, 2, 2), frame.index, np.float32) for frame in frames]

    def close(self) -> None:
        self.closed = True


class Listed:
    """A tape in memory."""

    def __init__(self, *frames: TapedFrame) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[TapedFrame]:
        return iter(self._frames)


def on_tape(*frames: TapedFrame, looks: bool = True) -> tuple[TapedDetector, Asked]:
    asked = Asked()
    tape: Any = Listed(*frames)
    return TapedDetector(lambda: tape, looks=looks).around(asked), asked


@pytest.mark.parametrize("looks", [True, False])
def test_the_model_is_asked_where_the_tape_ends(looks: bool) -> None:
    detector, asked = on_tape(*map(taped, range(5)), looks=looks)
    counts = []
    for start in (0, 2, 4, 6):
        detector.detect([make_frame(start), make_frame(start + 1)])
        assert len(detector.thumbnails) == 2
        counts += [found.candidates for found in detector.box_counts if found]
    assert asked.detected == [4, 5, 6, 7]
    assert asked.looked == ([0, 1, 2, 3] if looks else [])
    assert counts == [0, 1, 2, 3, 4, 1005, 1006, 1007]
    detector.check_finished()
    detector.close()
    assert asked.closed


def test_frames_that_are_not_those_of_the_tape_are_an_error() -> None:
    detector, _ = on_tape(taped(0), taped(2))
    detector.detect([make_frame(0)])
    with pytest.raises(SourceError, match=r"frame 1 at 0\.040 s where the interrupted run saw frame 2 at 0\.080 s"):
        detector.detect([make_frame(1)])


def test_a_source_that_ends_before_the_tape_is_an_error() -> None:
    detector, _ = on_tape(taped(0), taped(1))
    detector.detect([make_frame(0)])
    with pytest.raises(SourceError, match="ended before frame 1"):
        detector.check_finished()


def test_light_is_followed_and_cuts_are_compared_on_the_tape() -> None:
    detector, _ = on_tape(taped(0), taped(1, cut=True), taped(2))
    seen: list[int] = []

    def adapt(found: Detections, thumbnail: Float32Array, pts_ns: int, cut: bool) -> Detections:
        seen.append(pts_ns)
        return Detections.empty(9)

    adapted = detector.adapting(adapt)
    frames = [make_frame(index) for index in range(4)]
    found = detector.detect(frames)
    left = [
        adapted(each, detector.thumbnails[0], frame.pts_ns, frame.index == 1).keypoints.shape[1]
        for frame, each in zip(frames[:2], found, strict=False)
    ]
    with pytest.raises(SourceError, match="Frame 2 looks otherwise than in the interrupted run, which saw no cut"):
        adapted(found[2], detector.thumbnails[2], frames[2].pts_ns, True)
    # Off the tape, what the light leaves is what counts.
    left.append(adapted(found[3], detector.thumbnails[3], frames[3].pts_ns, False).keypoints.shape[1])
    assert left == [5, 5, 9]
    assert seen == [frame.pts_ns for frame in (frames[0], frames[1], frames[3])]


# --- which file it is ---


def test_a_file_is_known_by_its_size_and_both_its_ends(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    data = bytearray(os.urandom(3 * (1 << 20)))
    identities = set()
    for place in (0, (1 << 20) - 1, 2 * (1 << 20), len(data) - 1):
        data[place] ^= 1
        path.write_bytes(data)
        identities.add(resuming.identify(path))
    path.write_bytes(data + b"\0")
    identities.add(resuming.identify(path))
    path.write_bytes(b"x")
    identities.add(resuming.identify(path))
    assert len(identities) == 6
    copy = shutil.copy(path, tmp_path / "copy.mkv")
    assert resuming.identify(Path(copy)) == resuming.identify(path)
    with pytest.raises(SourceError, match="cannot be read"):
        resuming.identify(tmp_path / "none")
