import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamtrack.demo.figure import COARSE, Figure, Painter
from streamtrack.demo.portraits import COLLINS, HOPPER, PORTRAITS, Portrait, body_mask, face_mask

FIGURES = {portrait.name: Figure(portrait) for portrait in PORTRAITS}
poses = st.tuples(st.floats(150, 1100), st.floats(150, 400), st.floats(40, 240), st.floats(-8, 8)).map(np.array)


@given(st.sampled_from(PORTRAITS), poses)
def test_the_box_is_that_of_the_faces_ellipse_wherever_it_is_put(portrait: Portrait, pose: np.ndarray) -> None:
    figure = FIGURES[portrait.name]
    x0, y0, x1, y1 = portrait.face
    angle = np.linspace(0, 2 * np.pi, 2000)
    ellipse = np.stack(
        [
            (x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(angle),
            (y0 + y1) / 2 + (y1 - y0) / 2 * np.sin(angle),
            np.ones_like(angle),
        ]
    )
    placed = figure.to_frame(pose) @ ellipse
    assert figure.face_box(pose) == pytest.approx([*placed.min(axis=1), *placed.max(axis=1)], abs=0.05)


@given(st.sampled_from(PORTRAITS), poses)
def test_a_pose_gives_the_centre_and_the_height_of_the_face(portrait: Portrait, pose: np.ndarray) -> None:
    x0, y0, x1, y1 = FIGURES[portrait.name].face_box(pose * [1, 1, 1, 0])
    assert ((x0 + x1) / 2, (y0 + y1) / 2, y1 - y0) == pytest.approx(tuple(pose[:3]), abs=0.02)


@given(st.sampled_from(PORTRAITS), poses)
def test_coarse_masks_measure_the_area_of_the_face(portrait: Portrait, pose: np.ndarray) -> None:
    figure = FIGURES[portrait.name]
    body, face = figure.coarse_masks(pose)
    assert body.shape == face.shape == (720 // COARSE, 1280 // COARSE)
    assert face.sum() == pytest.approx(figure.coarse_face_area(pose), rel=0.08)


@pytest.mark.parametrize("portrait", PORTRAITS, ids=lambda portrait: portrait.name)
def test_the_face_is_within_the_outline(portrait: Portrait) -> None:
    face, body = np.asarray(face_mask(portrait)) > 0, np.asarray(body_mask(portrait)) > 128
    assert (face & body).sum() > 0.97 * face.sum()


def test_painting_touches_only_what_the_person_covers() -> None:
    figure = Figure(HOPPER)
    red = Image.new("RGB", body_mask(HOPPER).size, (255, 0, 0))
    red.putalpha(body_mask(HOPPER))
    canvas = Image.new("RGB", (1280, 720))
    pose = np.array([600.0, 300.0, 100.0, 3.0])
    Painter(figure, red, (1.0, 1.0, 1.0)).paint(canvas, pose)
    painted = np.asarray(canvas)[..., 0] > 128
    x0, y0, x1, y1 = (round(v) for v in figure.face_box(pose))
    assert painted[(y0 + y1) // 2, x0 + 10 : x1 - 10].all()
    assert not painted[:, :350].any()
    assert not painted[:, 850:].any()


def test_the_light_of_a_place_falls_on_people() -> None:
    white = Image.new("RGBA", COLLINS.size, (255, 255, 255, 255))
    canvas = Image.new("RGB", (1280, 720))
    Painter(Figure(COLLINS), white, (1.0, 0.5, 0.0)).paint(canvas, np.array([600.0, 300.0, 126.0, 0.0]))
    assert canvas.getpixel((600, 300)) == (255, 128, 0)


@pytest.mark.parametrize("x", [-900.0, 3000.0])
def test_somebody_outside_the_picture_is_not_painted(x: float) -> None:
    canvas = Image.new("RGB", (1280, 720))
    picture = Image.new("RGBA", COLLINS.size, (255, 255, 255, 255))
    Painter(Figure(COLLINS), picture, (1.0, 1.0, 1.0)).paint(canvas, np.array([x, 300.0, 126.0, 0.0]))
    assert canvas.getbbox() is None
