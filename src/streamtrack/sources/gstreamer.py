"""A GStreamer pipeline as a source: ``gst:rtspsrc location=rtsp://camera/1 latency=0 ! decodebin``."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

import msgspec

from streamtrack.api import SourceOptions
from streamtrack.errors import ConfigError, SourceError, SourceOpenError
from streamtrack.sources import _gst
from streamtrack.sources._connection import Arrival, FeedError, FeedInfo, ThreadedConnection
from streamtrack.sources._picture import AvPicture
from streamtrack.sources._supervisor import Policy, Supervisor
from streamtrack.sources.sampling import choose
from streamtrack.types import NS_PER_S, Frame, SourceInfo, SourceStats

_POLL_NS: Final = NS_PER_S // 10
_NTP_EPOCH_S: Final = 2_208_988_800  # from 1900 to 1970; RFC 868
_CLOCKS: Final = (("timestamp/x-ntp", _NTP_EPOCH_S * NS_PER_S), ("timestamp/x-unix", 0))
_UNKNOWN: Final = 2**64 - 1  # GST_CLOCK_TIME_NONE


class GstSource:
    """A ``Source`` over what a GStreamer pipeline gives.

    The pipeline is written as for ``gst-launch-1.0``, without a sink (one is added, which takes pictures in the format
    that they have where it can) or with an ``appsink`` of its own. Pictures are shown as they are: for a rotation in
    the file's metadata add ``! videoflip method=automatic``.

    A pipeline that GStreamer calls live is one: it is kept going as any live feed, and ``captured_ns`` is what a
    reference timestamp says (``rtspsrc add-reference-timestamp-meta=true``), else the time of arrival. Any other
    pipeline has an end, and its failure is an error.
    """

    reads_query = True
    """Whatever stands in a pipeline belongs to the pipeline: options are given apart."""
    stats: SourceStats

    def __init__(
        self,
        uri: str,
        options: SourceOptions,
        *,
        live: bool | None = None,
        timeout_s: float = 5.0,
        first_frame_s: float = 10.0,
        reconnect: bool = True,
        give_up_s: float = 0.0,
    ) -> None:
        """Take note of the pipeline.

        Args:
            uri: the pipeline.
            options: what any source is asked for.
            live: whether it is live; None for what GStreamer says, which does not know of ``tcpclientsrc`` and such.
            timeout_s: without a frame for so long, it is started anew, or, with an end, has failed.
            first_frame_s: likewise before its first frame.
            reconnect: whether to start a live one anew; without, the first failure ends the run.
            give_up_s: end the run after so long without a frame of a live one; 0 never does.

        Raises:
            ConfigError: the options make no sense.
        """
        choose(options.stride, options.fps, 0.0)
        self._policy = Policy(
            timeout_s=timeout_s, first_frame_s=first_frame_s, reconnect=reconnect, give_up_s=give_up_s
        )
        self.stats = SourceStats()
        self._text, self._options, self._live = uri.removeprefix("gst://"), options, live
        if not self._text.strip(" !"):
            raise ConfigError("gst: needs a pipeline, such as gst:videotestsrc is-live=true.")
        self._label = _gst.hide(f"gst:{self._text}", self._text)
        self._interrupted = threading.Event()
        self._closed = False
        self._started: GstConnection | None = None
        self._supervisor: Supervisor | None = None

    def open(self) -> SourceInfo:
        """Start the pipeline and wait for its first frame; for a live one, as often as it takes.

        Raises:
            PluginError: GStreamer, its bindings or an element of the pipeline is not installed.
            ConfigError: it is no pipeline.
            SourceOpenError: it cannot be built or started, or gives no frame.
        """
        gst = _gst.libraries()
        # Whatever is wrong with the text will not get better by trying again.
        _gst.build(gst, self._text)
        self._started = GstConnection(gst, self._text, live=self._live)
        live = self._wait_for_kind(self._started)
        policy, options = self._policy, self._options
        if not live:
            policy = dataclasses.replace(policy, reconnect=False, give_up_s=0.0)
            options = msgspec.structs.replace(options, on_state=lambda state, reason: None)
        supervisor = Supervisor(self._label, options, lambda: self._connect(gst), policy)
        supervisor.stats = self.stats
        self.stats.decoding = "by GStreamer"
        self._supervisor = supervisor
        if self._interrupted.is_set():
            supervisor.interrupt()
        info = supervisor.open()
        return dataclasses.replace(info, duration_s=info.duration_s or None)

    def _wait_for_kind(self, connection: GstConnection) -> bool:
        """Return whether it is live, once that is known; a pipeline that fails before is not."""
        deadline = time.monotonic() + self._policy.first_frame_s
        while not connection.known.wait(_POLL_NS / NS_PER_S):
            if self._interrupted.is_set():
                raise SourceOpenError(f"{self._label} gave no frame before it was stopped.")
            if time.monotonic() >= deadline:
                break
        return bool(connection.live)

    def _connect(self, gst: _gst.Libraries) -> GstConnection:
        started, self._started = self._started, None
        return started or GstConnection(gst, self._text, live=self._live)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the wanted frames. There is one pass: a second iterator goes on where the first is.

        Raises:
            SourceError: the source is closed; the pipeline failed, and is not to be started anew.
        """
        if self._closed or self._supervisor is None:
            raise SourceError(f"{self._label} is closed: open it again to read it.")
        return iter(self._supervisor)

    def interrupt(self) -> None:
        """End every wait. May be called from any thread, at any time."""
        self._interrupted.set()
        if self._supervisor is not None:
            self._supervisor.interrupt()

    def close(self) -> None:
        """Stop the pipeline; frames already given keep their pixels. May be called again."""
        self._closed = True
        if self._started is not None:
            self._started.close()
        if self._supervisor is not None:
            self._supervisor.close()


class GstConnection(ThreadedConnection):
    """A running pipeline: started, read and stopped on a thread of its own, as each of these may take its time."""

    def __init__(self, gst: _gst.Libraries, text: str, *, live: bool | None) -> None:
        """Start the pipeline ``text``, which is ``live``, or as GStreamer says."""
        self.live = live
        """Whether it is live; None until that is known."""
        self.known = threading.Event()
        """Set once it is known whether it is live, or it has failed."""
        if live is not None:
            self.known.set()
        super().__init__(lambda _: self._play(_Player(gst, text, self.closed.is_set)))

    def _play(self, player: _Player) -> Generator[Arrival]:
        try:
            if player.start() and self.live is None:
                self._is_live(True)
            begun = False
            for sample in player.samples():
                self.lost = player.lost
                if self.live is None:
                    self._is_live(player.is_live())
                if not begun:
                    # Whoever joins a feed between two keyframes is shown grey with what moves in it.
                    if self.live and _gst.is_damaged(sample.get_buffer()):
                        player.lost += 1
                        continue
                    self.info = player.feed(sample, live=bool(self.live))
                    begun = True
                yield player.arrival(sample)
            if not begun and not self.live:
                raise FeedError("it ended without a picture")
        finally:
            self.known.set()
            player.stop()

    def _is_live(self, live: bool) -> None:
        self.live = live
        self.known.set()


class _Player:
    """One pipeline, used by one thread."""

    def __init__(self, gst: _gst.Libraries, text: str, is_closed: Callable[[], bool]) -> None:
        self.lost = 0
        """Pictures that could not be decoded, as far as GStreamer says."""
        self._gst, self._text, self._is_closed = gst, text, is_closed
        self._pipeline, self._sink = _gst.build(gst, text)
        self._bus = self._pipeline.get_bus()
        self._layout: _gst.Layout | None = None
        self._clocks = [(gst.core.Caps.from_string(name), epoch_ns) for name, epoch_ns in _CLOCKS]

    def start(self) -> bool:
        """Start it; return whether GStreamer already knows that it is live.

        Raises:
            FeedError: it cannot be started.
        """
        states, outcomes = self._gst.core.State, self._gst.core.StateChangeReturn
        outcome = self._pipeline.set_state(states.PAUSED)
        if outcome != outcomes.FAILURE and self._pipeline.set_state(states.PLAYING) != outcomes.FAILURE:
            return bool(outcome == outcomes.NO_PREROLL)
        self._listen()
        raise FeedError("GStreamer cannot start this pipeline, and does not say why")

    def stop(self) -> None:
        """Stop it and let go of what it holds."""
        self._pipeline.set_state(self._gst.core.State.NULL)

    def samples(self) -> Generator[Any]:
        """Yield samples until the end, or until nobody wants any more.

        Raises:
            FeedError: it failed.
        """
        while not self._is_closed():
            sample = self._sink.try_pull_sample(_POLL_NS)
            self._listen()
            if sample is not None:
                yield sample
            elif self._sink.is_eos():
                return

    def _listen(self) -> None:
        kinds = self._gst.core.MessageType
        while (message := self._bus.pop_filtered(kinds.ERROR | kinds.WARNING)) is not None:
            if message.type == kinds.ERROR:
                raise _gst.failure(message, self._text)
            self.lost += _gst.is_lost_picture(message)

    def is_live(self) -> bool:
        """Return whether it is live, which is certain once it runs."""
        query = self._gst.core.Query.new_latency()
        # Asked of what is before the sink: the sink itself calls itself live where it waits for the clock.
        return bool(self._sink.get_static_pad("sink").peer_query(query) and query.parse_latency()[0])

    def feed(self, sample: Any, *, live: bool) -> FeedInfo:
        """Return what is known of the feed once it runs."""
        told, duration_ns = self._pipeline.query_duration(self._gst.core.Format.TIME)
        duration_s = None if live else duration_ns / NS_PER_S if told and 0 < duration_ns < _UNKNOWN // 2 else 0.0
        rate = self._layout_of(sample).rate
        return FeedInfo(_gst.codec_of(self._gst, self._pipeline), rate, duration_s)

    def arrival(self, sample: Any) -> Arrival:
        """Return the picture of ``sample``, copied out of it.

        Raises:
            FeedError: it is not what its caps say.
        """
        arrived_ns, buffer = time.monotonic_ns(), sample.get_buffer()
        try:
            picture = AvPicture(self._layout_of(sample).frame(self._gst, buffer))
        except ValueError as error:
            raise FeedError(f"GStreamer gave a picture that is not as large as it says ({error})") from error
        running_ns = sample.get_segment().to_running_time(self._gst.core.Format.TIME, buffer.pts)
        return Arrival(
            picture,
            picture.width,
            picture.height,
            pts_ns=None if running_ns >= _UNKNOWN else int(running_ns),
            arrived_ns=arrived_ns,
            captured_ns=self._captured_ns(buffer),
            damaged=_gst.is_damaged(buffer),
        )

    def _layout_of(self, sample: Any) -> _gst.Layout:
        caps = sample.get_caps()
        if self._layout is None or caps is None or not caps.is_equal(self._layout.caps):
            self._layout = _gst.Layout(self._gst, caps)
        return self._layout

    def _captured_ns(self, buffer: Any) -> int | None:
        for caps, epoch_ns in self._clocks:
            meta = buffer.get_reference_timestamp_meta(caps)
            if meta is not None:
                return int(meta.timestamp) - epoch_ns
        return None
