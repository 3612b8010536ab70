"""What a source is, told from how it is written: which plug-in serves it, and with which options. No network is used.

| written | served by |
|---|---|
| ``NAME:rest``, ``NAME://rest`` where NAME is an installed source | that source, given ``rest`` (``//``: all) |
| ``rtsp:// rtmp:// udp:// tcp:// srt:// ...``, ``/dev/videoN``, ``avfoundation:N``, ``*.sdp`` | ``live`` |
| ``http(s)://`` | ``pyav`` where the path ends like a video file (not ``.flv``), else ``live`` |
| a folder, a pattern of pictures (``shots/*.jpg``, ``%04d.png``) | ``images`` |
| anything else: a path, ``file://``, ``-`` | ``pyav`` |

Options may follow a ``?``. Of a network URL only the plug-in's own are taken; what else is there belongs to the server.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

from streamtrack.errors import ConfigError, SourceOpenError, did_you_mean

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+._-]+):(//)?")
_LIVE: Final = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtmpt", "rtp", "srtp", "udp", "tcp", "srt", "mms", "mmsh"})
_CAMERAS: Final = frozenset({"avfoundation", "v4l2", "dshow"})
_VIDEO_SUFFIXES: Final = frozenset(
    {".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".mpeg", ".ts", ".webm", ".wmv"}
)
# Over HTTP this is how feeds are sent; ``live`` finds out by itself where one is a recording.
_STREAMED: Final = frozenset({".flv"})
_PICTURES: Final = re.compile(r"(?i)(\*|\?|\[|%0?\d*d).*\.(jpe?g|png|bmp|tiff?|webp)$")
# A file that holds a source instead of a name: longer ones are no URL.
_MAX_SECRET_BYTES: Final = 4096


class Address(NamedTuple):
    """Where a source is."""

    plugin: str
    """Entry point of the source that serves it."""
    uri: str
    """What to hand to it, options included."""


def read_secret(source: str) -> str:
    """Return ``source``, or what the file that it names holds.

    ``file:PATH`` (without ``//``) of a file with a single line of text stands for that line, so that a URL with a
    password need not be on a command line.

    Raises:
        SourceOpenError: the file cannot be read.
    """
    if not source.startswith("file:") or source.startswith("file://"):
        return source
    path = Path(source.removeprefix("file:"))
    try:
        with path.open("rb") as file:
            head = file.read(_MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise SourceOpenError(f"'{path}' cannot be read: {error.strerror}.") from error
    try:
        lines = head.decode().split("\n")
    except UnicodeDecodeError:
        return str(path)
    written = [line.strip() for line in lines if line.strip()]
    is_text = len(head) <= _MAX_SECRET_BYTES and len(written) == 1 and written[0].isprintable()
    return written[0] if is_text else str(path)


def locate(source: str, installed: Collection[str]) -> Address:
    """Say which plug-in serves ``source``.

    Args:
        source: as a person writes it.
        installed: the names of the installed sources.
    """
    match = _SCHEME.match(source)
    if match and match[1].lower() in installed:
        return Address(match[1].lower(), source if match[2] else source[match.end() :])
    scheme = match[1].lower() if match else ""
    path = source.partition("?")[0]
    if (scheme in _LIVE and match and match[2]) or scheme in _CAMERAS or source.startswith("/dev/video"):
        return Address("live", source)
    if scheme in ("http", "https") and match and match[2]:
        is_file = Path(path).suffix.lower() in _VIDEO_SUFFIXES - _STREAMED
        return Address("pyav" if is_file else "live", source)
    if source == "-" or scheme == "file":
        return Address("pyav", source)
    if Path(source).exists():
        return Address("images" if Path(source).is_dir() else "pyav", source)
    if path.lower().endswith(".sdp"):
        return Address("live", source)
    is_pictures = Path(path).is_dir() or _PICTURES.search(_without_options(source))
    return Address("images" if is_pictures else "pyav", source)


def _without_options(source: str) -> str:
    before, _, after = source.rpartition("?")
    return before if "=" in after else source


def split_options(uri: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """Take the options behind ``?`` off ``uri``.

    Args:
        uri: of an ``Address``.
        known: the options of the plug-in.

    Raises:
        ConfigError: an option that the plug-in does not have, where nobody else could be meant.
    """
    before, mark, query = uri.rpartition("?")
    if not mark or "=" not in query or (not _is_url(uri) and Path(uri).exists()):
        return uri, {}
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    if not _is_url(uri):
        for key, _, _ in pairs:
            if key not in known:
                raise ConfigError(
                    f"This source has no option '{key}'.{did_you_mean(key, known)} "
                    f"Options: {', '.join(known) or 'none'}."
                )
    others = "&".join(key + equals + value for key, equals, value in pairs if key not in known)
    taken = {key: unquote(value) for key, _, value in pairs if key in known}
    return before + ("?" + others if others else ""), taken


def _is_url(uri: str) -> bool:
    return "://" in uri and not uri.startswith("file://")
