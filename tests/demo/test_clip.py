from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from streamtrack.demo import scenery
from streamtrack.demo.clip import FPS, MAX_GAP_S, SHOTS, Shot, Walk, pictures, true_faces, write_clip
from streamtrack.demo.portraits import COLLINS, HOPPER, PORTRAITS, cut_out
from streamtrack.demo.score import iou
from streamtrack.demo.truth import TrueFace, Truth
from streamtrack.errors import SinkError
from streamtrack.params import TrackerParams

# Collins walks through the hall behind the pillar and behind Hopper, in twelve frames.
BRISK = (
    Shot(
        scenery.hall,
        12,
        (
            Walk(COLLINS, ((0.0, 1500, 300, 112), (0.5, 100, 300, 112))),
            Walk(HOPPER, ((0.0, 560, 310, 170), (0.5, 560, 310, 170))),
        ),
    ),
    Shot(scenery.terrace, 3, (Walk(HOPPER, ((0.0, 200, 310, 120),)),)),
)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return true_faces()


def faces_of(truth: Truth, person: str) -> list[TrueFace]:
    return [face for face in truth.faces if face.person == person]


def test_what_the_clip_promises(truth: Truth) -> None:
    assert (truth.frames, truth.fps, truth.width, truth.height) == (500, 25, 1280, 720)
    assert truth.shots == ((0, 300), (300, 500)), "one hard cut"
    assert truth.people == ("Hopper", "Collins")
    assert truth.tracks == 5
    assert truth.max_gap_s == MAX_GAP_S == TrackerParams().max_gap_s


def test_people_grow_cross_leave_and_return(truth: Truth) -> None:
    for person in truth.people:
        heights = [face.bbox[3] - face.bbox[1] for face in faces_of(truth, person)]
        assert max(heights) > 1.3 * min(heights), f"{person} comes closer"
    by_frame: dict[int, list[TrueFace]] = {}
    for face in truth.faces:
        by_frame.setdefault(face.frame_idx, []).append(face)
    crossings = {n >= 300 for n, both in by_frame.items() if len(both) == 2 and iou(both[0].bbox, both[1].bbox) > 0.2}
    assert crossings == {False, True}, "they cross in each shot"
    assert [len({f.track for f in faces_of(truth, person)} - {0}) for person in truth.people] == [2, 3]


def test_no_absence_is_so_long_that_one_could_argue_about_it(truth: Truth) -> None:
    for person in truth.people:
        for start, end in truth.shots:
            seen = [f.frame_idx for f in faces_of(truth, person) if f.in_view and start <= f.frame_idx < end]
            gaps = np.diff(seen) / FPS
            assert not ((gaps > 1.2) & (gaps < 3.5)).any()


def test_after_the_cut_nobody_is_where_a_face_was_or_was_going(truth: Truth) -> None:
    cut = truth.shots[1][0]
    before = [face.bbox for face in truth.faces if cut - 25 <= face.frame_idx < cut]
    after = [face.bbox for face in truth.faces if cut <= face.frame_idx < cut + 10]
    ahead = [tuple(2 * np.array(b) - np.array(a)) for a, b in zip(before, before[2:], strict=False)]
    assert max(iou(a, b) for a in [*before, *ahead] for b in after) == 0.0


def test_boxes_are_within_the_picture_and_faces_do_not_jump(truth: Truth) -> None:
    boxes = np.array([face.bbox for face in truth.faces])
    assert boxes[:, :2].min() >= 0
    assert boxes[:, 2].max() <= 1280
    assert boxes[:, 3].max() <= 720
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    for person in truth.people:
        faces = faces_of(truth, person)
        for a, b in pairwise(faces):
            if b.frame_idx == a.frame_idx + 1 and b.frame_idx != truth.shots[1][0]:
                assert np.abs(np.array(a.bbox) - b.bbox).max() < 20


def test_the_truth_is_what_is_painted(flat_portraits: dict[str, Path]) -> None:
    truth = true_faces(BRISK)
    cut_outs = {portrait.name: cut_out(portrait, flat_portraits[portrait.name]) for portrait in PORTRAITS}
    frames = [np.asarray(picture) for picture in pictures(cut_outs, BRISK)]
    assert len(frames) == truth.frames == 15
    checked = {"seen": 0, "hidden": 0}
    for face in truth.faces:
        x0, y0, x1, y1 = face.bbox
        if x0 <= 0 or x1 >= truth.width:
            continue
        y, x = np.mgrid[int(y0) : int(y1), int(x0) : int(x1)] + 0.5
        inside = ((x - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((y - (y0 + y1) / 2) / (y1 - y0)) ** 2 < 0.25
        part = frames[face.frame_idx][int(y0) : int(y1), int(x0) : int(x1)].astype(int)
        channel = 0 if face.person == "Collins" else 1
        own = (part[..., channel] > 200) & (part[..., 1 - channel] < 40)
        assert own[inside].mean() == pytest.approx(face.visible, abs=0.06)
        checked["seen" if face.visible > 0.9 else "hidden"] += 1
    assert checked["seen"] > 15
    assert checked["hidden"] >= 3


def test_the_same_portraits_give_the_same_pixels(flat_portraits: dict[str, Path]) -> None:
    cut_outs = {portrait.name: cut_out(portrait, flat_portraits[portrait.name]) for portrait in PORTRAITS}
    first, second = ([picture.tobytes() for picture in pictures(cut_outs, BRISK[1:])] for _ in range(2))
    assert first == second


def test_writes_a_clip_and_its_truth(tmp_path: Path, flat_portraits: dict[str, Path]) -> None:
    path, truth = write_clip(tmp_path / "new", flat_portraits, BRISK)
    assert sorted(p.name for p in path.parent.iterdir()) == ["clip.mp4", "truth.jsonl"]
    assert Truth.load(path.parent / "truth.jsonl") == truth == true_faces(BRISK)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (1280, 720, FPS)
        assert [round(float(frame.time or 0) * FPS) for frame in container.decode(stream)] == list(range(15))


def test_a_folder_that_cannot_be_made_is_a_sink_error(tmp_path: Path, flat_portraits: dict[str, Path]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="file"):
        write_clip(tmp_path / "file" / "demo", flat_portraits, BRISK)


def test_the_shots_last_twenty_seconds() -> None:
    assert sum(shot.frames for shot in SHOTS) == 20 * FPS
