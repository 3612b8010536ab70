"""The live feeds' equipment: what they show is made once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The servers stand beside the tests, which all use them.
sys.path.insert(0, str(Path(__file__).parent))

from servers import Clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """What the feeds show."""
    return Clips(tmp_path_factory.mktemp("clips"))
