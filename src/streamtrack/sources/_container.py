"""Opening files, pipes and URLs with FFmpeg, saying clearly why one cannot be opened, and what is in one."""

from __future__ import annotations

import re
import time
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from streamtrack.errors import DecodeError, SourceError, SourceOpenError, did_you_mean, redact
from streamtrack.sources._pipe import StandardInput

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LIVE = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt"})
# FFmpeg draws these on the screen of a terminal and calls it video.
_TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})
_URL_TIMEOUTS_S = (5, 5)  # to open, and for each read
_VIDEO_SUFFIXES = frozenset({".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm", ".wmv"})
_AV_TIME_BASE = 1_000_000
# Whole numbers of boxes that an MP4 or QuickTime file may begin with.
_MP4_BOXES = frozenset({b"ftyp", b"mdat", b"moov", b"free", b"skip", b"wide", b"pnot"})
# Looking through an index takes 0.3 us per entry; beyond this many it is not worth the wait.
_MAX_COUNTED = 1_000_000

_REASONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((ConnectionRefusedError,), "nothing listens there; check host and port"),
    ((av.HTTPUnauthorizedError, av.HTTPForbiddenError), "the server refuses these credentials; check them"),
    ((av.HTTPNotFoundError,), "the server has nothing under that path; check it"),
    ((av.ProtocolNotFoundError,), "FFmpeg does not know this kind of URL; check how it begins"),
    ((av.InvalidDataError,), "what it sends is not a video that FFmpeg can read"),
)


class Input(NamedTuple):
    """An open container and where it came from."""

    container: InputContainer
    label: str
    """The source at the beginning of a sentence: a quoted path, a redacted URL, or ``Standard input``."""
    uri: str
    """The source for records: as given, redacted."""
    live: bool
    is_file: bool
    pipe: StandardInput | None = None


def open_input(uri: str, pipe: StandardInput | None = None) -> Input:
    """Open a path, a URL, or standard input (``-``), which is ``pipe``.

    Raises:
        SourceOpenError: it cannot be opened; the message says why and what to do.
    """
    if pipe is not None:
        return _open_pipe(pipe)
    if _URL.match(uri) and not uri.startswith("file://"):
        return _open_url(uri)
    return _open_file(Path(uri.removeprefix("file://")))


def _open_file(path: Path) -> Input:
    label = f"'{path}'"
    head = _look_at(path)
    try:
        # Without the prefix FFmpeg would take what stands before a colon in a name for a protocol.
        container = av.open(f"file:{path}", "r", metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise SourceOpenError(_unreadable(label, head)) from error
    return Input(container, label, str(path), live=False, is_file=True)


def _look_at(path: Path) -> bytes:
    """Return the first bytes of a file that can be read."""
    try:
        if path.is_dir():
            raise SourceOpenError(f"'{path}' is a folder: name one video in it{_an_example_in(path)}.")
        if not path.exists():
            raise SourceOpenError(f"There is no file '{path}'.{_a_neighbour_of(path)}")
        if path.is_file() and not path.stat().st_size:
            raise SourceOpenError(f"'{path}' is empty: the recording or the copy failed, so get the file again.")
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(16)
    except PermissionError as error:
        raise SourceOpenError(f"'{path}' may not be read: change its permissions (chmod +r), or copy it.") from error
    except OSError as error:
        if isinstance(error, SourceOpenError):
            raise
        raise SourceOpenError(f"'{path}' cannot be read: {error.strerror or error}.") from error


def _an_example_in(folder: Path) -> str:
    videos = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in _VIDEO_SUFFIXES)
    return f", such as '{folder / videos[0]}'" if videos else ""


def _a_neighbour_of(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" There is no folder '{folder}' either: check the path."
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    return did_you_mean(path.name, names) or " Check the path."


def _open_pipe(pipe: StandardInput) -> Input:
    pipe.open()
    try:
        container = av.open(pipe, "r", metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        if not pipe.head:
            raise SourceOpenError("Standard input is empty: whatever feeds the pipe wrote nothing.") from error
        raise SourceOpenError(_unreadable("Standard input", pipe.head, piped=not pipe.seekable())) from error
    return Input(container, "Standard input", pipe.name, live=False, is_file=pipe.seekable(), pipe=pipe)


def _unreadable(label: str, head: bytes, *, piped: bool = False) -> str:
    if head[4:8] not in _MP4_BOXES:
        return f"{label} is not a video that FFmpeg can read: check that it is the right file, and whole."
    if piped:
        return (
            f"{label} is an MP4 with its index at the end, which a pipe cannot go to: name the file, or rewrite it "
            "with ffmpeg -i in.mp4 -c copy -movflags +faststart out.mp4."
        )
    return (
        f"{label} is an MP4 without its index (moov): the recording or the copy was cut off before its end. Get the "
        "whole file, or rebuild the index with a tool such as untrunc."
    )


def _open_url(uri: str) -> Input:
    label, began_s = redact(uri), time.monotonic()
    try:
        container = av.open(uri, "r", timeout=_URL_TIMEOUTS_S, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        why = reason(error, waited_s=time.monotonic() - began_s)
        raise SourceOpenError(f"{label} cannot be opened: {why}.") from hide_secrets(error)
    return Input(container, label, label, live=uri.partition("://")[0].lower() in _LIVE, is_file=False)


def hide_secrets(error: Exception) -> Exception:
    """Return ``error`` without passwords: FFmpeg's errors carry the URL, and a traceback shows them."""
    error.args = tuple(redact(arg) if isinstance(arg, str) else arg for arg in error.args)
    return error


def reason(error: Exception, *, waited_s: float = 0.0, limit_s: float = _URL_TIMEOUTS_S[0]) -> str:
    """Return why a URL failed, as the end of a sentence.

    Args:
        error: what FFmpeg raised.
        waited_s: for how long it was waited until then, in seconds.
        limit_s: for how long FFmpeg was allowed to wait, in seconds.
    """
    # Interrupted as it waits for an answer, FFmpeg's RTSP takes the silence for an answer that makes no sense.
    silent = isinstance(error, av.InvalidDataError) and waited_s >= limit_s
    if silent or isinstance(error, (av.ExitError, TimeoutError)):
        return f"no answer within {limit_s:g} s; check that it is up and reachable"
    for kinds, text in _REASONS:
        if isinstance(error, kinds):
            return text
    return str(getattr(error, "strerror", None) or "FFmpeg failed").lower()


def no_frames(source: Input) -> SourceError:
    """Return the error for a source that opened and then gave not a single frame."""
    if source.pipe is not None and not source.is_file and source.pipe.head[4:8] in _MP4_BOXES:
        return SourceOpenError(_unreadable(source.label, source.pipe.head, piped=True))
    return DecodeError(f"{source.label} holds no frame that can be decoded: get an undamaged copy.")


def pick_video(source: Input) -> VideoStream:
    """Return the video stream to read.

    Raises:
        SourceOpenError: there is none, or nothing here decodes it.
    """
    streams = source.container.streams
    if source.container.format.name in _TEXT_FORMATS:
        raise SourceOpenError(f"{source.label} is text, not a video: check that it is the right file.")
    # A picture on the sleeve of an audio file is a video stream of one frame.
    videos = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        others = sorted({str(stream.type) for stream in streams if stream.type != "video"})
        held = f"only {' and '.join(others)}" if others else "nothing to look at"
        raise SourceOpenError(f"{source.label} has no video in it, {held}: name a file with pictures.")
    best = streams.best("video")
    stream = next((video for video in videos if best is not None and video.index == best.index), videos[0])
    # Annotated as always there; PyAV leaves it out where FFmpeg has no decoder.
    if getattr(stream, "codec_context", None) is None:
        raise SourceOpenError(
            f"{source.label} holds video in a format that this FFmpeg cannot decode: convert it with a program that "
            "can, e.g. to H.264."
        )
    return stream


class Extent(NamedTuple):
    """How much there is in a stream, as far as can be known without reading it."""

    rate: float
    """Average frames a second; 0.0 where it cannot be known."""
    frames: int | None
    """About how many frames there are."""
    duration_s: float | None
    packets: int
    """How many packets the container's index lists; 0 where there is no index of all."""
    cut_short: bool
    """Whether the index points beyond the end of the file."""


def measure(source: Input, stream: VideoStream) -> Extent:
    """Return how much there is in ``stream``.

    ``stream.frames`` is no help: twice too many in AVI, wrong with edit lists, 0 in Matroska and TS.
    """
    duration = _duration_s(source, stream)
    guessed = float(stream.guessed_rate or 0)
    declared = float(stream.average_rate or 0) or guessed
    indexed, present = _indexed(source, stream)
    counted = indexed / duration if duration else 0.0
    # A rate may be of fields, twice that of frames; an index with still fewer entries is the beginning of one.
    if duration and counted > 0.4 * declared:
        nearest = min((declared, guessed), key=lambda rate: abs(rate - counted))
        rate = nearest if abs(nearest - counted) < 0.1 * counted else counted
        # Time and frames that can come, so that a run knows how far it is; the rest is lost and counted as such.
        return Extent(rate, present, duration * present / indexed, indexed, cut_short=present < indexed)
    frames = max(1, round(duration * declared)) if duration and declared else None
    return Extent(declared, frames, duration, 0, cut_short=present < indexed)


def _duration_s(source: Input, stream: VideoStream) -> float | None:
    if source.live:
        return None
    if stream.duration and stream.duration > 0 and stream.time_base:
        return float(stream.duration * Fraction(stream.time_base))
    duration = source.container.duration
    return duration / _AV_TIME_BASE if duration and duration > 0 else None


def _indexed(source: Input, stream: VideoStream) -> tuple[int, int]:
    """Return how many frames the container lists, and how many of them lie within the file; 0 where it says nothing."""
    if source.container.format.name == "gif":
        return stream.frames, stream.frames
    entries = stream.index_entries
    complete = {"mov", "avi"} & set(source.container.format.name.split(","))
    if not source.is_file or not complete or len(entries) > _MAX_COUNTED:
        return 0, 0
    # Edit lists leave frames out, and an empty entry means "as before".
    ends = [entry.pos + entry.size for entry in entries if entry.size and not entry.is_discard]
    size = source.container.size
    return len(ends), sum(end <= size for end in ends) if size > 0 else len(ends)


def presents_by_dts(source: Input) -> bool:
    """Return whether frames are to be timed by decode time: AVI stores no other, and FFmpeg's guesses go backwards."""
    return source.container.format.name == "avi"
