import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.demo.score import Observer, as_rows, iou, pair, score
from streamtrack.demo.truth import TrueFace, Truth
from streamtrack.testing.results import make_frame, make_info, make_result

LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)


def face(n: int, person: str, box: tuple[float, float, float, float], visible: float = 1.0, track: int = 1) -> TrueFace:
    return TrueFace(frame_idx=n, person=person, bbox=box, visible=visible, track=track)


def truth_of(*faces: TrueFace) -> Truth:
    frames = max(f.frame_idx for f in faces) + 1
    shots = ((0, frames),)
    return Truth(frames=frames, fps=25.0, width=99, height=99, shots=shots, max_gap_s=2.5, faces=faces)


def two_people(frames: int) -> Truth:
    pairs = [(face(n, "Collins", LEFT, track=1), face(n, "Hopper", RIGHT, track=2)) for n in range(frames)]
    return truth_of(*(each for both in pairs for each in both))


def test_a_perfect_tracker() -> None:
    result = score(two_people(4), {n: [(7, LEFT), (9, RIGHT)] for n in range(4)})
    assert (result.true_tracks, result.found_tracks, result.false_tracks) == (2, 2, 0)
    assert [(p.person, p.in_view, p.tracked, p.switches) for p in result.people] == [
        ("Collins", 4, 4, 0),
        ("Hopper", 4, 4, 0),
    ]


def test_swapped_ids_are_two_switches_but_the_right_number_of_tracks() -> None:
    result = score(two_people(4), {n: [(7, LEFT if n < 2 else RIGHT), (9, RIGHT if n < 2 else LEFT)] for n in range(4)})
    assert (result.true_tracks, result.found_tracks) == (2, 2)
    assert [person.switches for person in result.people] == [1, 1]
    assert [person.found_ids for person in result.people] == [{7, 9}, {7, 9}]


def test_a_new_id_after_a_gap_is_a_switch_within_a_true_track_only() -> None:
    truth = truth_of(*(face(n, "Collins", LEFT, track=1 if n < 2 else 2) for n in range(4)))
    assert score(truth, {n: [(1 if n < 2 else 2, LEFT)] for n in range(4)}).people[0].switches == 0
    assert score(truth, {n: [(1 if n < 1 else 2, LEFT)] for n in range(4)}).people[0].switches == 1


def test_false_and_missing_tracks() -> None:
    nowhere = (80.0, 80.0, 90.0, 90.0)
    result = score(two_people(2), {0: [(1, LEFT), (5, nowhere)], 1: [(1, LEFT)]})
    assert (result.found_tracks, result.false_tracks) == (2, 1)
    assert [(person.tracked, person.in_view) for person in result.people] == [(2, 2), (0, 2)]


def test_only_processed_frames_count() -> None:
    result = score(two_people(10), {n: [(1, LEFT)] for n in range(0, 10, 5)})
    assert [person.in_view for person in result.people] == [2, 2]
    shown = truth_of(face(0, "Collins", LEFT, track=1), face(1, "Hopper", LEFT, track=2))
    assert score(shown, {0: []}).true_tracks == 1


def test_a_hidden_face_is_not_missed_but_its_track_is_not_false_either() -> None:
    truth = truth_of(face(0, "Collins", LEFT), face(1, "Collins", LEFT, visible=0.2), face(2, "Collins", LEFT))
    result = score(truth, {0: [], 1: [(3, LEFT)], 2: []})
    assert (result.people[0].in_view, result.people[0].tracked, result.false_tracks) == (2, 0, 0)


def test_a_track_over_two_faces_is_on_the_one_that_can_be_seen() -> None:
    faces = [face(0, "Collins", LEFT, visible=0.1), face(0, "Hopper", (1.0, 0.0, 11.0, 10.0))]
    assert pair(faces, [(4, LEFT)], {"Collins": 4}) == {"Hopper": 4}


def test_a_pair_that_held_before_is_kept_though_another_overlaps_more() -> None:
    tracks = [(1, (2.0, 0.0, 12.0, 10.0)), (2, LEFT)]
    assert pair([face(0, "Collins", LEFT)], tracks, {}) == {"Collins": 2}
    assert pair([face(0, "Collins", LEFT)], tracks, {"Collins": 1}) == {"Collins": 1}


def test_half_the_overlap_is_enough_and_less_is_not() -> None:
    assert pair([face(0, "a", LEFT)], [(1, (0.0, 0.0, 10.0, 5.0))], {}) == {"a": 1}
    assert pair([face(0, "a", LEFT)], [(1, (0.0, 0.0, 10.0, 4.9))], {}) == {}


boxes = st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def naive_iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    cells_a = {(x, y) for x in range(a[0], a[2]) for y in range(a[1], a[3])}
    cells_b = {(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])}
    return len(cells_a & cells_b) / len(cells_a | cells_b)


@given(boxes, boxes)
def test_iou_counts_cells(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    assert iou(a, b) == pytest.approx(naive_iou(a, b))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.integers())
def test_names_of_ids_do_not_matter(ids: list[tuple[int, int]], seed: int) -> None:
    names = random.Random(seed).sample(range(100), 4)
    truth = two_people(len(ids))
    plain = score(truth, {n: [(a, LEFT)] + [(b, RIGHT)] * (a != b) for n, (a, b) in enumerate(ids)})
    named = score(truth, {n: [(names[a], LEFT)] + [(names[b], RIGHT)] * (a != b) for n, (a, b) in enumerate(ids)})
    assert as_rows(plain) == as_rows(named)
    assert (plain.found_tracks, plain.false_tracks) == (named.found_tracks, named.false_tracks)


def test_the_observer_sees_confirmed_tracks_of_every_frame() -> None:
    observer = Observer()
    observer.open(make_info(None))
    observer.write(make_result(make_frame(0), [(3, LEFT)], lost=[(4, RIGHT)], tentative=[(5, RIGHT)]))
    observer.write(make_result(make_frame(5)))
    observer.close()
    assert observer.frames == {0: [(3, list(LEFT))], 5: []}


def test_rows_for_people() -> None:
    rows = as_rows(score(two_people(4), {n: [(1, LEFT)] for n in range(3)}))
    assert rows == [
        ["person", "true tracks", "found", "frames in view", "tracked", "id switches"],
        ["Collins", "1", "1", "3", "100.0 %", "0"],
        ["Hopper", "1", "0", "3", "0.0 %", "0"],
    ]
    never_shown = truth_of(face(9, "Collins", LEFT))
    assert as_rows(score(never_shown, {0: []}))[1] == ["Collins", "0", "0", "0", "-", "0"]
