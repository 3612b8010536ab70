from collections.abc import Callable

import numpy as np
import pytest

from streamtrack.demo.scenery import FRONT_TOP, HEIGHT, WIDTH, Scenery, hall, terrace


@pytest.mark.parametrize("place", [hall, terrace])
def test_a_place_fills_the_picture_and_its_front_hides_where_portraits_end(place: Callable[[], Scenery]) -> None:
    scenery = place()
    assert scenery.back.size == (WIDTH, HEIGHT)
    mask = np.asarray(scenery.front_mask())
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[FRONT_TOP:] == 255).all()
    assert (mask[:FRONT_TOP] == 255).mean() < 0.1


def test_a_place_is_the_same_every_time() -> None:
    assert hall().back.tobytes() == hall().back.tobytes()
    assert hall().back.tobytes() != terrace().back.tobytes()
