"""GStreamer through PyGObject: finding it, building a pipeline, and its samples as FFmpeg's frames.

GStreamer's bindings cannot come from an index of Python packages as they are: they belong to the system (Debian:
``python3-gi``), so they are looked for there, and imported only when a pipeline is asked for.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.machinery
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from av.video.frame import VideoFrame

from streamtrack.errors import ConfigError, PluginError, SourceOpenError, redact
from streamtrack.sources._connection import FeedError
from streamtrack.sources._picture import _layout, _view

_SYSTEM: Final = Path("/usr/lib/python3/dist-packages")
_INSTALL: Final = (
    "apt-get install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
)
_MORE: Final = "apt-get install gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav"
_SYNTAX, _NO_SUCH_ELEMENT, _LINK = 0, 1, 3  # GstParseError
_NOT_FOUND, _NOT_AUTHORIZED = 3, 15  # GstResourceError
_LASTING: Final = frozenset({_NOT_FOUND, _NOT_AUTHORIZED})
_DECODE: Final = 7  # GstStreamError
_CORRUPTED: Final = 1 << 8  # GST_BUFFER_FLAG_CORRUPTED

# GstVideoFormat -> FFmpeg's name, and the bytes of a pixel where all of it is in one plane.
_FORMATS: Final = {
    "I420": ("yuv420p", 0),
    "NV12": ("nv12", 0),
    "NV21": ("nv21", 0),
    "Y42B": ("yuv422p", 0),
    "Y444": ("yuv444p", 0),
    "I420_10LE": ("yuv420p10le", 0),
    "I422_10LE": ("yuv422p10le", 0),
    "P010_10LE": ("p010le", 0),
    "GRAY8": ("gray", 0),
    "YUY2": ("yuyv422", 2),
    "UYVY": ("uyvy422", 2),
    "RGB": ("rgb24", 3),
    "BGR": ("bgr24", 3),
    "RGBx": ("rgb0", 4),
    "BGRx": ("bgr0", 4),
}
CAPS: Final = f"video/x-raw,format=(string){{{','.join(_FORMATS)}}}"
_SINK: Final = f'appsink sync=false max-buffers=2 enable-last-sample=false caps="{CAPS}"'
_HAS_SINK: Final = re.compile(r"(?:^|[!\s])appsink(?:\s|$)")
# GstVideoColorMatrix and GstVideoColorRange -> AVColorSpace and AVColorRange.
_MATRICES: Final = {2: 4, 3: 1, 4: 6, 5: 7, 6: 9}
_RANGES: Final = {1: 2, 2: 1}

_SECRET: Final = re.compile(
    r"(?i)(?<![\w-])([\w-]*(?:pw|pass|secret|token|key|cred|auth|cookie|user)[\w-]*\s*=\s*)(\"[^\"]*\"|'[^']*'|\S+)"
)
_LEAST_SECRET: Final = 4
_lock = threading.Lock()


class Libraries(NamedTuple):
    """GStreamer's modules, as GObject introspection makes them."""

    core: Any
    app: Any
    video: Any
    error: type[Exception]
    """What they raise."""


def libraries() -> Libraries:
    """Return GStreamer, initialised.

    Raises:
        PluginError: it, or its bindings for this Python, are not there; the message says how to install them.
    """
    with _lock, warnings.catch_warnings():
        # It imports its modules by a protocol that Python calls old.
        warnings.simplefilter("ignore")
        _load_unwinder()
        gi = _bindings()
        try:
            for name in ("Gst", "GstApp", "GstVideo"):
                gi.require_version(name, "1.0")
            core, app, video, glib = (
                importlib.import_module(f"gi.repository.{name}") for name in ("Gst", "GstApp", "GstVideo", "GLib")
            )
        except (ValueError, ImportError) as error:
            raise PluginError(f"GStreamer's bindings are not all there ({error}): {_INSTALL}.") from error
        core.init(None)
        return Libraries(core, app, video, glib.Error)


def _load_unwinder() -> None:
    """Let C++ exceptions be unwound by the compiler's library.

    GStreamer brings libunwind, whose functions have the same names and which is not made for it: whatever is loaded
    after it, such as onnxruntime, would crash at its first exception. The library that comes first is the one used.
    """
    with suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)


def _bindings() -> Any:
    try:
        import gi
    except ImportError as error:
        gi = _bindings_of_the_system(error)
    return gi


def _bindings_of_the_system(error: ImportError) -> Any:
    built = sorted(path.name.partition(".")[2] for path in _SYSTEM.glob("gi/_gi.*"))
    if not built:
        raise PluginError(f"GStreamer needs PyGObject, which is not installed: {_INSTALL}.") from error
    if not any(f".{name}" in importlib.machinery.EXTENSION_SUFFIXES for name in built):
        theirs = re.search(r"cpython-(\d)(\d+)", built[0])
        version = f"{theirs[1]}.{theirs[2]}" if theirs else "another version"
        raise PluginError(
            f"GStreamer needs PyGObject, and the system's is for Python {version}, not for this "
            f"{sys.version_info.major}.{sys.version_info.minor}: install streamtrack for Python {version}, or build "
            "PyGObject for this one (pip install PyGObject)."
        ) from error
    # Only for as long as this takes: what else is there is none of our business.
    sys.path.append(str(_SYSTEM))
    try:
        import gi
    except ImportError as late:
        raise PluginError(f"The system's PyGObject cannot be imported ({late}): {_INSTALL}.") from late
    finally:
        sys.path.remove(str(_SYSTEM))
    return gi


# --- pipelines ---


def hide(message: str, text: str) -> str:
    """Return ``message`` without the passwords that are in URLs or that a pipeline ``text`` gives to its elements."""
    for secret in {match[2].strip("\"'") for match in _SECRET.finditer(text)}:
        if len(secret) >= _LEAST_SECRET:
            message = message.replace(secret, "***")
    return redact(_SECRET.sub(r"\1***", message))


def build(gst: Libraries, text: str) -> tuple[Any, Any]:
    """Return the pipeline that ``text`` describes, and the appsink at its end, which is added where there is none.

    Raises:
        ConfigError: it is no pipeline.
        PluginError: an element is not installed.
        SourceOpenError: its elements do not fit together.
    """
    text = text.strip().removesuffix("!")
    if not text:
        raise ConfigError("gst: needs a pipeline, such as gst:videotestsrc is-live=true.")
    whole = text if _HAS_SINK.search(text) else f"{text} ! videoconvert ! {_SINK}"
    try:
        pipeline = gst.core.parse_launch(whole)
    except gst.error as error:
        code, said = getattr(error, "code", None), hide(getattr(error, "message", str(error)), text)
        # Not chained: GStreamer's own error may hold a password.
        if code == _NO_SUCH_ELEMENT:
            raise PluginError(f"GStreamer: {said}. Check its name, or install what has it: {_MORE}.") from None
        if code == _SYNTAX:
            raise ConfigError(f"GStreamer cannot read this pipeline ({said}): {hide(text, text)}.") from None
        advice = " It must end where video comes out, without a sink." if code == _LINK else ""
        raise SourceOpenError(f"GStreamer cannot build this pipeline: {said}.{advice}") from None
    sinks = [each for each in walk(gst, pipeline, "iterate_sinks") if isinstance(each, gst.app.AppSink)]
    if not sinks:
        raise ConfigError(f"There is no appsink at the end of this pipeline: {hide(text, text)}.")
    if sinks[0].get_property("caps") is None:
        sinks[0].set_property("caps", gst.core.Caps.from_string(CAPS))
    return pipeline, sinks[0]


def walk(gst: Libraries, pipeline: Any, how: str) -> Iterator[Any]:
    """Yield the elements of a pipeline that its iterator called ``how`` gives."""
    if not hasattr(pipeline, how):
        return
    elements = getattr(pipeline, how)()
    while True:
        outcome, element = elements.next()
        if outcome == gst.core.IteratorResult.RESYNC:
            elements.resync()
        elif outcome != gst.core.IteratorResult.OK:
            return
        else:
            yield element


def codec_of(gst: Libraries, pipeline: Any) -> str:
    """Return what the video decoder of a running pipeline decodes, e.g. ``h264``; ``raw`` where there is none."""
    for element in walk(gst, pipeline, "iterate_recurse"):
        factory = element.get_factory()
        kind = factory.get_metadata("klass") if factory else ""
        caps = pad.get_current_caps() if (pad := element.get_static_pad("sink")) else None
        if "Decoder" in kind and "Video" in kind and caps and not caps.is_any():
            return str(caps.get_structure(0).get_name().partition("/")[2].removeprefix("x-"))
    return "raw"


def failure(message: Any, text: str) -> FeedError:
    """Return the error that a message of a pipeline's bus tells of."""
    error, detail = message.parse_error()
    said = error.message.strip().rstrip(".")
    lines = [line.strip().rstrip(".") for line in (detail or "").splitlines()[1:] if line.strip()]
    more = f" ({lines[-1]})" if lines else ""
    missing = f"; install what it needs: {_MORE}" if "plug-in" in said else ""
    lasting = error.domain == "gst-resource-error-quark" and error.code in _LASTING
    return FeedError(hide(f"GStreamer says: {said}{more}{missing}", text), lasting=lasting)


def is_lost_picture(message: Any) -> bool:
    """Return whether a warning of a pipeline's bus says that something could not be decoded."""
    error, _ = message.parse_warning()
    return bool(error.domain == "gst-stream-error-quark" and error.code == _DECODE)


# --- pictures ---


class Layout:
    """How the pictures of some caps lie in memory, and what their colours mean."""

    def __init__(self, gst: Libraries, caps: Any) -> None:
        """Read ``caps``.

        Raises:
            FeedError: they are not of raw video in a format that can be taken over.
        """
        info: Any = gst.video.VideoInfo.new_from_caps(caps) if caps else None
        name = info.finfo.name if info and info.finfo else ""
        if name not in _FORMATS:
            raise FeedError(f"GStreamer gives {caps.to_string() if caps else 'nothing'}, not raw video in main memory")
        self.caps = caps
        self.width, self.height = int(info.width), int(info.height)
        self.rate = info.fps_n / info.fps_d if info.fps_d and info.fps_n else 0.0
        self.format, self._packed = _FORMATS[name]
        self._strides, self._offsets = list(info.stride), list(info.offset)
        self._matrix = _MATRICES.get(int(info.colorimetry.matrix), 2)
        self._range = _RANGES.get(int(info.colorimetry.range), 0)

    def frame(self, gst: Libraries, buffer: Any) -> VideoFrame:
        """Return the picture in ``buffer`` as a frame of FFmpeg's, which owns its pixels.

        Raises:
            ValueError: the buffer is shorter than such a picture.
        """
        meta = gst.video.buffer_get_video_meta(buffer)
        strides, offsets = (list(meta.stride), list(meta.offset)) if meta else (self._strides, self._offsets)
        data = buffer.extract_dup(0, buffer.get_size())
        frame = VideoFrame(self.width, self.height, self.format)
        frame.colorspace, frame.color_range = self._matrix, self._range
        for plane, (step, shift_x, shift_y) in enumerate(_layout(self.format) or ((self._packed, 0, 0),)):
            row_bytes = -(-self.width >> shift_x) * step
            rows = -(-self.height >> shift_y)
            # Checked by numpy against the length of the buffer.
            source = np.ndarray((rows, row_bytes), np.uint8, data, offsets[plane], (strides[plane], 1))
            _view(frame, plane)[:rows, :row_bytes] = source
        return frame


def is_damaged(buffer: Any) -> bool:
    """Return whether the decoder says that the picture in ``buffer`` is."""
    return bool(int(buffer.get_flags()) & _CORRUPTED)
