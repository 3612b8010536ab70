import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.benching.agreement import OVERLAP, SCORE, _overlaps, agreement
from streamtrack.benching.results import Agreement
from streamtrack.benching.tasks import Found

corner = st.floats(0, 100)
side = st.floats(5, 60)
boxes = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), corner, corner, side, side)


@st.composite
def pictures(draw: st.DrawFn) -> Found:
    found = draw(st.lists(st.tuples(boxes, st.floats(0.1, 1), st.integers(0, 1)), max_size=6))
    return Found([box for box, _, _ in found], [score for _, score, _ in found], [kind for _, _, kind in found])


def naive_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared)


@given(pictures(), pictures())
def test_overlaps_are_those_of_the_slow_obvious_twin(a: Found, b: Found) -> None:
    expected = [
        [naive_iou(x, y) if k == m else 0.0 for y, m in zip(b.boxes, b.classes, strict=True)]
        for x, k in zip(a.boxes, a.classes, strict=True)
    ]
    np.testing.assert_allclose(_overlaps(a, b), np.array(expected).reshape(len(a.boxes), len(b.boxes)), atol=1e-12)


@given(st.lists(pictures(), min_size=1, max_size=4))
def test_everybody_agrees_with_themselves(found: list[Found]) -> None:
    strong = sum(score >= SCORE for each in found for score in each.scores)
    same = agreement(found, found)
    assert (same.expected, same.missing, same.extra) == (strong, 0, 0)
    assert same.mean_iou in (None, 1.0)


@given(pictures(), pictures())
def test_who_misses_what_the_other_has_too_many_of(a: Found, b: Found) -> None:
    there, back = agreement([a], [b]), agreement([b], [a])
    assert (there.missing, there.extra) == (back.extra, back.missing)
    assert there.missing <= there.expected
    assert there.worst_iou is None or OVERLAP <= there.worst_iou <= 1


def test_scores_drift_and_weak_boxes_may_come_and_go() -> None:
    box, far = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
    reference = Found([box, far], [0.9, 0.2], [0, 0])
    assert agreement([reference], [Found([box], [0.8], [0])]) == Agreement(
        expected=1, missing=0, extra=0, mean_iou=1.0, worst_iou=1.0, max_score_drift=0.1
    )
    # Another class is another thing; a strong box may match one that is just weak enough to be overlooked.
    assert agreement([reference], [Found([box], [0.9], [1])]).missing == 1
    assert agreement([reference], [Found([box], [0.25], [0])]).missing == 0
    assert agreement([reference], [Found([box, far], [0.9, 0.9], [0, 0])]).extra == 0
