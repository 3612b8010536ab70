"""``python -m streamtrack``."""

import sys

from streamtrack.cli import main

if __name__ == "__main__":
    sys.exit(main())
