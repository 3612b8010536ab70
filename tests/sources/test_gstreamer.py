"""The contract over a GStreamer pipeline; live ones, broken ones, and where GStreamer is not there."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamtrack.api import Source, SourceOptions
from streamtrack.errors import ConfigError, PluginError, SourceError, SourceOpenError, StreamtrackError
from streamtrack.plugins import make_source
from streamtrack.sources import _gst
from streamtrack.sources.gstreamer import GstSource, _Player
from streamtrack.testing.clips import indexed_frames, write_clip
from streamtrack.testing.sources import SourceConformance, opened
from streamtrack.types import Frame

needs_gstreamer = pytest.mark.requires(
    typelib="GstVideo-1.0",
    install="apt-get install --no-install-recommends python3-gi gir1.2-gst-plugins-base-1.0 "
    "gstreamer1.0-plugins-base gstreamer1.0-plugins-good",
)


@pytest.fixture
def gst() -> _gst.Libraries:
    try:
        return _gst.libraries()
    except PluginError as error:
        if "is for Python" in str(error):
            pytest.skip(str(error))
        raise


@needs_gstreamer
@pytest.mark.usefixtures("gst")
class TestGstSource(SourceConformance):
    frames = 30

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("gst") / "clip.webm"
        options = {"deadline": "realtime", "cpu-used": "8", "b": "2M"}
        request.cls.path = write_clip(path, indexed_frames(30), codec="libvpx", options=options)

    def make_source(self, options: SourceOptions) -> Source:
        return GstSource(f"filesrc location={self.path} ! matroskademux ! vp8dec", options)  # type: ignore[attr-defined]


def everything(text: str, **own: Any) -> list[Frame]:
    source = opened(GstSource(text, SourceOptions(), **own))
    try:
        return list(source)
    finally:
        source.close()


@needs_gstreamer
@pytest.mark.usefixtures("gst")
@pytest.mark.parametrize("size", ["64,height=48", "75,height=51"])
@pytest.mark.parametrize("name", sorted(_gst._FORMATS))
def test_every_format_shows_what_rgb_does(name: str, size: str) -> None:
    bars = "videotestsrc num-buffers=1 pattern=smpte75 ! video/x-raw"
    shown, rgb = (everything(f"{bars},format={each},width={size}")[0].rgb() for each in (name, "RGB"))
    assert shown.shape == rgb.shape
    expected = rgb if name != "GRAY8" else np.repeat((rgb @ (0.299, 0.587, 0.114))[:, :, None], 3, axis=2)
    assert np.median(np.abs(shown - expected.astype(float))) <= (3 if name != "GRAY8" else 20)


@needs_gstreamer
@pytest.mark.usefixtures("gst")
@pytest.mark.parametrize("colorimetry", ["bt601", "bt709", "1:3:5:1", "2:3:7:1"])
def test_colours_are_read_by_their_matrix_and_range(colorimetry: str) -> None:
    solid = "videotestsrc num-buffers=1 pattern=solid-color foreground-color=0xff20c040"
    converted = f"{solid} ! video/x-raw,format=RGB ! videoconvert ! video/x-raw,format=I420,colorimetry={colorimetry}"
    assert np.abs(everything(converted)[0].rgb().mean(axis=(0, 1)) - (0x20, 0xC0, 0x40)).max() <= 5


@needs_gstreamer
@pytest.mark.usefixtures("gst")
def test_an_appsink_of_its_own_is_used() -> None:
    frames = everything("videotestsrc num-buffers=4 ! videorate ! video/x-raw,framerate=10/1 ! appsink sync=false")
    assert [frame.pts_ns for frame in frames][:2] == [0, 100_000_000]


@needs_gstreamer
@pytest.mark.usefixtures("gst")
def test_a_change_of_size_is_followed() -> None:
    part = "videotestsrc num-buffers=2 ! video/x-raw,width={} ! c."
    frames = everything(f"concat name=c {part.format(64)} {part.format(128)} c. ! identity")
    assert [frame.width for frame in frames] == [64, 64, 128, 128]
    assert all(frame.rgb().shape[1] == frame.width for frame in frames)


@needs_gstreamer
@pytest.mark.usefixtures("gst")
def test_what_gstreamer_calls_live_is_live() -> None:
    states = []
    options = SourceOptions(on_state=lambda state, reason: states.append(state))
    source = GstSource("videotestsrc is-live=true ! video/x-raw,framerate=50/1", options)
    info = source.open()
    frames = list(islice(source, 5))
    now_ns = time.time_ns()
    source.close()
    assert (info.live, info.duration_s, info.frames_estimate, info.rate) == (True, None, None, 50.0)
    assert states == ["connecting", "live"]
    assert all(frame.captured_ns is not None and 0 <= now_ns - frame.captured_ns < 5e9 for frame in frames)


@needs_gstreamer
@pytest.mark.usefixtures("gst")
def test_the_end_of_a_live_one_is_a_fault_and_it_is_started_anew() -> None:
    source = opened(GstSource("videotestsrc is-live=true num-buffers=3", SourceOptions()))
    frames = list(islice(source, 8))
    source.close()
    assert [frame.index for frame in frames] == list(range(8))
    assert source.stats.reconnects == 2
    with pytest.raises(SourceError, match="broke off"):
        everything("videotestsrc is-live=true num-buffers=3", reconnect=False)


@needs_gstreamer
@pytest.mark.usefixtures("gst")
def test_one_can_be_declared_live_or_not() -> None:
    assert len(everything("videotestsrc is-live=true num-buffers=3", live=False)) == 3
    source = GstSource("videotestsrc", SourceOptions(), live=True)
    assert source.open().live
    source.close()


@needs_gstreamer
@pytest.mark.usefixtures("gst")
@pytest.mark.parametrize("text", ["videotestsrc ! valve drop=true", "videotestsrc is-live=true ! valve drop=true"])
def test_an_interrupt_ends_the_wait_for_a_first_frame(text: str) -> None:
    source = GstSource(text, SourceOptions(), first_frame_s=60.0)
    threading.Timer(0.2, source.interrupt).start()
    with pytest.raises(SourceOpenError, match="before it was stopped"):
        opened(source)


@needs_gstreamer
@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("nosuchthing", PluginError, 'no element "nosuchthing".*apt-get install gstreamer1.0-plugins-good'),
        ("videotestsrc !! x", ConfigError, "syntax error"),
        ("videotestsrc nonsense=1", SourceOpenError, 'no property "nonsense"'),
        ("videotestsrc ! fakesink", SourceOpenError, "could not link.*without a sink"),
        ("audiotestsrc", SourceOpenError, "could not link.*where video comes out"),
        ("filesrc location=nowhere.mp4 ! decodebin", SourceOpenError, "cannot be opened: .*No such file"),
        ("videotestsrc num-buffers=0", SourceOpenError, "ended without a picture"),
        ("  ", ConfigError, "needs a pipeline"),
    ],
)
def test_errors_say_what_gstreamer_says(
    gst: _gst.Libraries, text: str, kind: type[StreamtrackError], said: str
) -> None:
    with pytest.raises(kind, match=rf"(?s){said}"):
        opened(GstSource(text, SourceOptions()))


@needs_gstreamer
@pytest.mark.parametrize(
    "text",
    [
        "rtspsrc location=rtsp://me:geheim99@127.0.0.1:9/x ! decodebin",
        "rtspsrc user-pw=geheim99 location=rtsp://127.0.0.1:9/x ! decodebin",
        "videotestsrc pattern=geheim99 ! identity password=geheim99",
        'filesrc location="http://me:geheim99@host/x" ! decodebin',
        "nosuch secret=geheim99",
    ],
)
def test_passwords_are_in_no_message(gst: _gst.Libraries, text: str) -> None:
    told = []
    options = SourceOptions(on_state=lambda state, reason: told.append(reason))
    with pytest.raises(StreamtrackError) as caught:
        opened(GstSource(text, options, reconnect=False))
    error: BaseException | None = caught.value
    while error is not None:
        told.append(repr(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert "geheim99" not in "".join(told)


@needs_gstreamer
def test_the_time_of_capture_is_read_from_its_reference_timestamp(gst: _gst.Libraries) -> None:
    player = _Player(gst, "videotestsrc", lambda: False)
    for name, since_epoch_ns in (("ntp", 2_208_988_800_000_000_007), ("unix", 7)):
        buffer = gst.core.Buffer.new()
        assert player._captured_ns(buffer) is None
        caps = gst.core.Caps.from_string(f"timestamp/x-{name}")
        buffer.add_reference_timestamp_meta(caps, since_epoch_ns, 2**64 - 1)
        assert player._captured_ns(buffer) == 7


@needs_gstreamer
def test_a_buffer_shorter_than_its_picture_is_refused(gst: _gst.Libraries) -> None:
    caps = gst.core.Caps.from_string("video/x-raw,format=I420,width=64,height=48,framerate=5/1")
    layout = _gst.Layout(gst, caps)
    assert (layout.width, layout.height, layout.format, layout.rate) == (64, 48, "yuv420p", 5.0)
    with pytest.raises(ValueError, match="buffer"):
        layout.frame(gst, gst.core.Buffer.new_wrapped(bytes(100)))
    with pytest.raises(SourceError, match="not raw video"):
        _gst.Layout(gst, gst.core.Caps.from_string("video/x-h264"))


BAD_MODEL = """
from streamtrack.sources import _gst
_gst.libraries()
import onnxruntime
try:
    onnxruntime.InferenceSession(b"no model")
except Exception as error:
    print(type(error).__name__)
"""


@needs_gstreamer
@pytest.mark.usefixtures("gst")
def test_a_runtime_that_is_loaded_later_can_still_raise_its_errors() -> None:
    # GStreamer's libunwind once made onnxruntime crash at its first exception.
    done = subprocess.run([sys.executable, "-c", BAD_MODEL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "InvalidProtobuf\n"), done.stderr


# --- without GStreamer ---


def test_what_follows_a_question_mark_belongs_to_the_pipeline() -> None:
    source = make_source("gst:souphttpsrc location=http://host/x?rate=5&live=1", SourceOptions(), {"live": "false"})
    assert isinstance(source, GstSource)
    assert source._text == "souphttpsrc location=http://host/x?rate=5&live=1"
    assert source._live is False


def test_options_that_cannot_be_are_refused_before_anything_is_started() -> None:
    with pytest.raises(ConfigError, match="stride"):
        GstSource("videotestsrc", SourceOptions(stride=0))
    with pytest.raises(ConfigError, match="timeout_s"):
        GstSource("videotestsrc", SourceOptions(), timeout_s=0.0)
    with pytest.raises(ConfigError, match="pipeline"):
        GstSource("!", SourceOptions())


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("x location=rtsp://a:b@h/c", "x location=rtsp://***@h/c"),
        ("x user-pw=abc y=1", "x user-pw=*** y=1"),
        ('x user-id = "a b" pattern=2', "x user-id = *** pattern=2"),
        ("x extra-headers='h,authorization=t0ken' z=1", "x extra-headers='h,authorization=*** z=1"),
    ],
)
def test_secrets_of_elements_are_hidden(text: str, hidden: str) -> None:
    assert _gst.hide(text, text) == hidden


@pytest.mark.parametrize(
    ("built_for", "said"),
    [
        (None, "not installed: apt-get install python3-gi"),
        ("cpython-39-x86_64-linux-gnu.so", "for Python 3.9, not for"),
    ],
)
def test_without_bindings_it_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built_for: str | None, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    monkeypatch.setattr(_gst, "_SYSTEM", tmp_path)
    if built_for:
        (tmp_path / "gi").mkdir()
        (tmp_path / "gi" / f"_gi.{built_for}").touch()
    path = list(sys.path)
    with pytest.raises(PluginError, match=said):
        opened(GstSource("videotestsrc", SourceOptions()))
    assert sys.path == path


def test_without_its_typelibs_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bindings:
        @staticmethod
        def require_version(name: str, version: str) -> None:
            raise ValueError(f"Namespace {name} not available")

    monkeypatch.setitem(sys.modules, "gi", Bindings)
    with pytest.raises(PluginError, match=r"Namespace Gst not available.*gir1\.2-gst-plugins-base-1\.0"):
        _gst.libraries()
