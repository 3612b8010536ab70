from pathlib import Path

import pytest
from PIL import Image

from streamtrack.demo.portraits import PORTRAITS

FLAT = {"Collins": (255, 0, 0), "Hopper": (0, 255, 0)}


@pytest.fixture(scope="session")
def flat_portraits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pictures of one colour in the portraits' place, so that no test needs a network."""
    folder = tmp_path_factory.mktemp("portraits")
    paths = {}
    for portrait in PORTRAITS:
        paths[portrait.name] = folder / f"{portrait.name}.png"
        Image.new("RGB", portrait.size, FLAT[portrait.name]).save(paths[portrait.name])
    return paths
