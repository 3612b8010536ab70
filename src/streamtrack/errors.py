"""Every error streamtrack raises on purpose, and the exit code each one gives the command line.

```
StreamtrackError                    exit code
├── ConfigError     (ValueError)         2     a setting that cannot be: key, value and layer are named
├── PluginError     (LookupError)        3     names what is installed and how to install the rest
├── SourceError     (OSError)            4
│   ├── SourceOpenError                        the source could not be opened at all
│   └── DecodeError                            it opened, and then no frame could be decoded
├── BackendError    (RuntimeError)       5
│   ├── ModelLoadError                         a model that is missing, corrupt or of the wrong shape
│   └── InferenceError                         a model that loaded and then failed to run
├── FetchError      (OSError)            5     a file that could not be downloaded, or is not the one expected
├── SinkError       (OSError)            6
└── InternalError                       70     a broken invariant: please report it
KeyboardInterrupt                      130     after every sink was flushed
```

Each error is also the builtin a caller would catch. Third-party exceptions are translated once, at the edge of
the plug-in that met them, with ``raise ... from``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import ClassVar

EXIT_OK = 0
EXIT_INTERRUPTED = 130


class StreamtrackError(Exception):
    """Root of the tree. The message is one sentence for a person: what was wrong, where, what to do."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        # OSError and LookupError format their arguments in ways of their own.
        return " ".join(str(arg) for arg in self.args)


class ConfigError(StreamtrackError, ValueError):
    """A setting that is unknown, of the wrong type or out of range."""

    exit_code = 2


class PluginError(StreamtrackError, LookupError):
    """A plug-in that is not installed, or whose import failed."""

    exit_code = 3


class SourceError(StreamtrackError, OSError):
    """A source failed."""

    exit_code = 4


class SourceOpenError(SourceError):
    """A source could not be opened, or holds no video."""


class DecodeError(SourceError):
    """A source opened, but its pictures cannot be decoded."""


class BackendError(StreamtrackError, RuntimeError):
    """A runtime failed."""

    exit_code = 5


class ModelLoadError(BackendError):
    """A model is missing, corrupt, not the one that was asked for, or of the wrong shape."""


class InferenceError(BackendError):
    """A model that had loaded failed to run."""


class FetchError(StreamtrackError, OSError):
    """A file could not be had from any of its sources, or none of them gave the expected one."""

    exit_code = 5


class SinkError(StreamtrackError, OSError):
    """An output could not be written."""

    exit_code = 6


class InternalError(StreamtrackError):
    """An invariant of streamtrack itself does not hold."""

    exit_code = 70


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word, or ``""``."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


# Whitespace ends a URL; nothing else is certain to. People paste passwords that hold @, /, ? and # unescaped, so where
# a colon may start a password everything up to the last @ goes: rather a path too much than a password too little.
_USERINFO = re.compile(r"(?<=://)(?:[^/?#\s]*:\S*|[^/?#\s]*)@")
# As a query parameter (?token=...&api_key=...), as an option of a sink (webhook:secret=...), or, as some cameras have
# it, within the path (/user=a_password=b).
_SECRET_FIELD = re.compile(
    r"(?i)([?&;/_,:][^=&?/\s]{0,40}?(?:pass|pwd|token|key|secret|auth|sig|cred)[^=&?/\s]{0,40}=)[^&\s]+"
)


def redact(text: str) -> str:
    """Return ``text`` with user names, passwords and tokens in URLs replaced by ``***``."""
    return _SECRET_FIELD.sub(r"\1***", _USERINFO.sub("***@", text))
