"""Keeps passwords that were given on the command line out of the process's title, where every user can read them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from streamtrack.errors import redact

_CARRIER = "STREAMTRACK_ARGUMENTS"


def conceal(arguments: Sequence[str]) -> list[str]:
    """Return the process's arguments; where one holds a secret, start the program anew with a title without it.

    The same process goes on: the new program finds the arguments in its environment, which other users cannot read.
    """
    carried = os.environ.pop(_CARRIER, None)
    if carried is not None:
        return [str(argument) for argument in json.loads(carried)]
    shown = [redact(argument) for argument in arguments]
    if shown != list(arguments) and os.name == "posix":
        program = sys.orig_argv[: len(sys.orig_argv) - len(arguments)]
        os.execve(sys.executable, [*program, *shown], {**os.environ, _CARRIER: json.dumps(list(arguments))})
    return list(arguments)
