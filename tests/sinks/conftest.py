"""Where the tests of sinks find their equipment."""

from __future__ import annotations

import sys
from pathlib import Path

# It stands beside the tests.
sys.path.insert(0, str(Path(__file__).parent))
