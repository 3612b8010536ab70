"""Puts the twins of the kernels (``naive``) and the made-up scenes (``scenes``) within reach of the tests here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
