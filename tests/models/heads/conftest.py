"""Puts what the tests of all heads share (``headcases``) within reach of the tests here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
