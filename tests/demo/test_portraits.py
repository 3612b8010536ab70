from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamtrack.demo.portraits import HOPPER, PORTRAITS, Portrait, cut_out


@pytest.mark.parametrize("portrait", PORTRAITS, ids=lambda portrait: portrait.name)
def test_assets_are_pinned_to_a_file_in_a_package(portrait: Portrait) -> None:
    asset = portrait.asset
    assert len(bytes.fromhex(asset.sha256)) == 32
    assert asset.size > 50_000
    assert all(source.startswith("pypi:") and source.endswith(f"/{asset.filename}") for source in asset.sources)


@pytest.mark.parametrize("portrait", PORTRAITS, ids=lambda portrait: portrait.name)
def test_a_cut_out_has_soft_edges_and_nothing_of_the_corners(
    portrait: Portrait, flat_portraits: dict[str, Path]
) -> None:
    picture = cut_out(portrait, flat_portraits[portrait.name])
    assert picture.size == (portrait.size[0], portrait.size[1] + portrait.body_below)
    alpha = np.asarray(picture.getchannel("A"))
    assert alpha[0, 0] == alpha[0, -1] == 0
    x0, y0, x1, y1 = (int(v) for v in portrait.face)
    assert alpha[(y0 + y1) // 2, (x0 + x1) // 2] == 255
    assert 0 < ((alpha > 0) & (alpha < 255)).mean() < 0.1


def test_the_body_goes_on_below_the_picture(tmp_path: Path) -> None:
    y = np.mgrid[0 : HOPPER.size[1], 0 : HOPPER.size[0]][0]
    Image.fromarray(np.stack([y % 256] * 3, axis=2).astype(np.uint8)).save(tmp_path / "rows.png")
    rows = np.asarray(cut_out(HOPPER, tmp_path / "rows.png"))[:, 256, 0].astype(int)
    edge = HOPPER.size[1]
    assert (rows[edge : edge + 70] == rows[edge - 70 : edge][::-1]).all(), "mirrored at the edge"
    assert (rows[edge + 70 :] == rows[edge + 69]).all(), "then its last row"
