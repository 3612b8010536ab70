from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.demo.truth import TrueFace, Truth, number_tracks

FPS, MAX_GAP = 25.0, 4


def truth_of(visible: dict[str, list[float]], shots: tuple[tuple[int, int], ...]) -> Truth:
    """Return a truth in which a visibility below 0 means that the face is not in the picture at all."""
    faces = [
        TrueFace(frame_idx=n, person=person, bbox=(0.0, 0.0, 9.0, 9.0), visible=values[n])
        for n in range(shots[-1][1])
        for person, values in visible.items()
        if values[n] >= 0
    ]
    plain = Truth(
        frames=shots[-1][1], fps=FPS, width=9, height=9, shots=shots, max_gap_s=MAX_GAP / FPS, faces=tuple(faces)
    )
    return number_tracks(plain)


def naive_tracks(values: list[float], shots: tuple[tuple[int, int], ...]) -> int:
    """A track begins wherever a face comes into view and was not in view in the frames before, within the shot."""
    begun = 0
    for start, end in shots:
        for n in range(start, end):
            recent = values[max(start, n - MAX_GAP) : n]
            begun += values[n] >= 0.5 and not any(value >= 0.5 for value in recent)
    return begun


@given(st.data(), st.integers(1, 59))
def test_a_true_track_is_one_presence_in_one_shot(data: st.DataObject, cut: int) -> None:
    runs = st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 0.3, 0.5, 1.0]), st.integers(1, 9)), min_size=60, max_size=60)
    visible = {p: [value for value, n in data.draw(runs) for _ in range(n)][:60] for p in ("Collins", "Hopper")}
    shots = ((0, cut), (cut, 60))
    truth = truth_of(visible, shots)
    assert truth.tracks == sum(naive_tracks(values, shots) for values in visible.values())
    for track in range(1, truth.tracks + 1):
        faces = [face for face in truth.faces if face.track == track]
        assert len({face.person for face in faces}) == 1
        assert faces[0].in_view
        assert faces[-1].in_view
        assert len({face.frame_idx < cut for face in faces}) == 1
    assert all(face.track > 0 for face in truth.faces if face.in_view)


def test_a_short_absence_does_not_end_a_track_and_a_long_one_does() -> None:
    seen, hidden, away = [1.0], [0.2], [-1.0]
    assert truth_of({"a": seen + hidden * 3 + seen}, ((0, 5),)).tracks == 1
    assert truth_of({"a": seen + away * 3 + seen}, ((0, 5),)).tracks == 1
    assert truth_of({"a": seen + hidden * 4 + seen}, ((0, 6),)).tracks == 2
    assert truth_of({"a": seen * 6}, ((0, 3), (3, 6))).tracks == 2


def test_hidden_frames_belong_to_the_track_around_them_only() -> None:
    truth = truth_of({"a": [0.2, 1.0, 0.2, 1.0, 0.2]}, ((0, 5),))
    assert [face.track for face in truth.faces] == [0, 1, 1, 1, 0]


def test_tracks_are_numbered_in_order_of_appearance() -> None:
    truth = truth_of({"a": [-1.0, -1.0, 1.0], "b": [-1.0, 1.0, 1.0]}, ((0, 3),))
    assert {face.person: face.track for face in truth.faces} == {"b": 1, "a": 2}
    assert truth.people == ("b", "a")


def test_survives_a_file(tmp_path: Path) -> None:
    truth = truth_of({"a": [1.0, 0.25, 1.0]}, ((0, 3),))
    truth.save(tmp_path / "truth.jsonl")
    assert Truth.load(tmp_path / "truth.jsonl") == truth
    head, *rows = (tmp_path / "truth.jsonl").read_text().splitlines()
    assert '"schema_version":1' in head
    assert rows[1] == '{"frame_idx":1,"person":"a","bbox":[0.0,0.0,9.0,9.0],"visible":0.25,"track":1}'


def test_a_clip_without_faces_has_no_tracks() -> None:
    assert truth_of({}, ((0, 3),)).tracks == 0
    assert TrueFace(frame_idx=0, person="a", bbox=(0.0, 0.0, 1.0, 1.0), visible=0.5).in_view


@pytest.mark.parametrize("visible", [0.0, 0.499])
def test_less_than_half_a_face_is_not_in_view(visible: float) -> None:
    assert not TrueFace(frame_idx=0, person="a", bbox=(0.0, 0.0, 1.0, 1.0), visible=visible).in_view
