"""Accuracy on real sequences is what decision record 0005 says, in HOTA, at the strides where time matters most."""

from pathlib import Path

import numba
import pytest
from accuracy import GROUPS, group_scores

from streamtrack.params import TrackerParams

# HOTA in per cent, and identity switches of the official code, which are not to be exceeded.
EXPECTED = {
    ("MOT15", 3): (42.25, 193),
    ("MOT15", 10): (36.60, 232),
    ("MOT17-02+04", 3): (50.93, 46),
    ("MOT17-02+04", 10): (50.49, 75),
    ("MOT17-05+09", 3): (48.82, 109),
    ("MOT17-05+09", 10): (38.40, 105),
}


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="takes an hour as plain Python")
@pytest.mark.parametrize("stride", [3, 10])
@pytest.mark.parametrize("group", GROUPS)
def test_the_tracks_are_as_good_as_recorded(group: str, stride: int, shared_data: Path) -> None:
    scores = group_scores(shared_data / "mot", group, stride, TrackerParams())
    hota, switches = EXPECTED[group, stride]
    assert 100 * scores.hota == pytest.approx(hota, abs=0.3)
    assert scores.switches <= switches
