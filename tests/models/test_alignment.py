"""Where an input lies in a picture: the similarity of five points, and the crop around a box."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.models.alignment import FACE_POINTS, Similarity, box_place, face_place, face_template, fit

angle = st.floats(-math.pi, math.pi)
factor = st.floats(0.05, 40)
shift = st.floats(-4000, 4000)
coordinate = st.floats(-2000, 2000)


@st.composite
def similarities(draw: st.DrawFn) -> Similarity:
    turn, scale = draw(angle), draw(factor)
    return Similarity(scale * math.cos(turn), scale * math.sin(turn), draw(shift), draw(shift))


def umeyama(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """As published, with a singular value decomposition: (2, 3)."""
    middle, wanted_middle = points.mean(axis=0), target.mean(axis=0)
    found, wanted = points - middle, target - wanted_middle
    u, values, vt = np.linalg.svd(wanted.T @ found / len(points))
    signs = np.array((1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))))
    rotation = u @ np.diag(signs) @ vt
    scale = (values * signs).sum() / found.var(axis=0).sum()
    return np.column_stack((scale * rotation, wanted_middle - scale * rotation @ middle))


def as_matrix(place: Similarity) -> np.ndarray:
    return np.array(((place.cos, -place.sin, place.right), (place.sin, place.cos, place.down)))


@given(place=similarities(), x=coordinate, y=coordinate)
def test_the_inverse_leads_back(place: Similarity, x: float, y: float) -> None:
    points = np.array(((x, y), (y, 1.0)))
    np.testing.assert_allclose(place.inverse().apply(place.apply(points)), points, atol=1e-6 * (1 + 4000 / place.scale))


@given(points=st.lists(st.tuples(coordinate, coordinate), min_size=5, max_size=5))
def test_the_fit_is_that_of_umeyama(points: list[tuple[float, float]]) -> None:
    given_points = np.array(points)
    found = fit(given_points, FACE_POINTS)
    if np.ptp(given_points, axis=0).max() < 1 or found is None or found.explained < 1e-3:
        return  # the decomposition is not well defined there
    expected = umeyama(given_points, FACE_POINTS)
    np.testing.assert_allclose(as_matrix(found.similarity), expected, rtol=1e-6, atol=1e-6 * abs(expected).max())


@given(place=similarities())
def test_a_moved_template_is_explained_in_full(place: Similarity) -> None:
    found = fit(place.apply(FACE_POINTS), FACE_POINTS)
    assert found is not None
    assert found.explained == pytest.approx(1)
    assert found.spread == pytest.approx(place.scale * math.sqrt(FACE_POINTS.var(axis=0).sum()))


@given(place=similarities())
def test_an_upright_face_lies_where_the_template_says(place: Similarity) -> None:
    """However a face is turned, scaled and moved, its points end where they belong."""
    keypoints = place.apply(face_template(112, 112))
    if place.scale < 0.1:
        return  # a face of a few pixels is none
    found = face_place(keypoints, 112, 112)
    assert found is not None
    np.testing.assert_allclose(as_matrix(found), as_matrix(place), rtol=1e-6, atol=1e-5 * (1 + place.scale))


@pytest.mark.parametrize(
    ("height", "width", "first"),
    [(112, 112, (38.2946, 51.6963)), (112, 96, (30.2946, 51.6963)), (224, 224, (76.5892, 103.3926))],
)
def test_the_template_follows_the_size(height: int, width: int, first: tuple[float, float]) -> None:
    assert face_template(height, width)[0] == pytest.approx(first)


def test_a_face_in_profile_is_still_one_and_a_mirrored_one_is_not() -> None:
    profile = np.array([(50, 40), (52, 40), (65, 60), (51, 80), (52, 80)], np.float32)
    assert face_place(profile, 112, 112) is not None
    swapped = FACE_POINTS[[1, 0, 2, 4, 3]]
    assert face_place(swapped, 112, 112) is None


@pytest.mark.parametrize(
    "keypoints",
    [
        np.full((5, 2), 30.0),
        FACE_POINTS * 0.01,
        np.where(np.arange(10).reshape(5, 2) == 3, np.nan, FACE_POINTS),
        np.where(np.arange(10).reshape(5, 2) == 3, np.inf, FACE_POINTS),
        np.where(np.arange(10).reshape(5, 2) == 3, 1e300, FACE_POINTS),
        np.full((5, 2), np.float32(3e38), np.float32),
    ],
)
def test_what_is_no_face_has_no_place(keypoints: np.ndarray) -> None:
    assert face_place(keypoints, 112, 112) is None


box_side = st.floats(0.5, 3000)


@given(
    x=shift,
    y=shift,
    width=box_side,
    height=box_side,
    pad=st.floats(0, 0.5),
    size=st.sampled_from([(112, 112), (256, 128), (96, 112)]),
)
def test_the_input_shows_the_padded_box_in_its_middle(
    x: float, y: float, width: float, height: float, pad: float, size: tuple[int, int]
) -> None:
    place = box_place(np.array((x, y, x + width, y + height)), *size, pad)
    # From edge to edge: the first and last pixel are half a pixel wide beyond their centres.
    edges = place.apply(np.array(((-0.5, -0.5), (size[1] - 0.5, size[0] - 0.5)))) + 0.5
    middle = edges.mean(axis=0)
    assert middle == pytest.approx((x + width / 2, y + height / 2), abs=1e-6)
    shown = edges[1] - edges[0]
    wanted = (1 + 2 * pad) * np.array((width, height))
    assert (shown >= wanted - 1e-6).all()
    assert min(shown - wanted) == pytest.approx(0, abs=1e-6)
    assert shown[0] / shown[1] == pytest.approx(size[1] / size[0])
