"""What was seen of a source, as numbers: the JSON of ``streamtrack doctor SOURCE --json`` is made of these."""

from __future__ import annotations

import msgspec

from streamtrack.doctor.observing import Observations, Opened, Pictures
from streamtrack.doctor.timing import (
    Arrivals,
    Gop,
    Steps,
    measure_arrivals,
    measure_gops,
    measure_steps,
    reordering_depth,
)
from streamtrack.errors import redact

_SETTLE_S = 0.5


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a source. Times are in seconds, rates per second."""

    uri: str
    """As a person wrote it, redacted."""
    plugin: str
    live: bool
    container: str
    pictures: Pictures | None
    """None where no frame could be decoded."""
    others: tuple[str, ...]
    """Further streams, in words."""
    duration_s: float | None
    frames_estimate: int | None
    cut_short: bool
    """Whether the file ends before its index does."""
    looked_s: float
    """How long the look took, opening included."""
    ended: bool
    """Whether the source came to its end within it."""
    broke_off: str
    """Why it broke off; else empty."""
    open_s: float | None
    first_packet_s: float | None
    """From the beginning of the look; so is the first frame."""
    first_frame_s: float | None
    frames_seen: int
    """Packets, where the source has packets: a frame each in most streams."""
    declared_fps: float | None
    steps: Steps
    arrivals: Arrivals | None
    """None for files."""
    bitrate: float | None
    """Bits a second of media."""
    gop: Gop | None
    reordering_depth: int | None
    """Frames that a decoder must hold back; None where the container stores no presentation times."""
    b_frame_share: float | None
    """Share of the decoded frames that are B-frames."""
    disposable_share: float | None
    """Share of the frames that the stream says nothing refers to; None where it does not say."""
    corrupt_packets: int
    decode_errors: int
    damaged_frames: int
    lost_frames: int
    """Frames that did not come out of the decoder although they went in."""
    decoded_frames: int
    decode_ms: float | None
    """CPU time for one frame, with one thread."""
    wall_clock_offset_s: float | None
    """Our clock at arrival less the feed's own wall clock (RTCP, NTP), the least of all: delay and difference of the
    clocks. None where the feed has none."""

    @property
    def fps(self) -> float | None:
        """Frames a second as measured; as declared where timestamps do not tell."""
        return self.steps.fps or self.declared_fps


def summarise(uri: str, plugin: str, found: Observations) -> SourceReport:
    """Turn what was seen into numbers.

    Args:
        uri: as a person wrote it.
        plugin: the source that serves it.
        found: by a look that succeeded.
    """
    opened = found.opened or Opened("", False, False, 1.0, None, None, None)
    seen = list(found.seen)  # a reader that could not be stopped may still add to it
    pts, dts = [each.pts for each in seen], [each.dts for each in seen]
    steps = measure_steps(pts, dts, opened.unit_s)
    depth = reordering_depth(pts, dts, opened.unit_s)
    by_packets = opened.by_packets
    span_s = len(seen) / steps.fps if steps.fps else 0.0
    disposable = sum(each.disposable for each in seen)
    return SourceReport(
        uri=redact(uri),
        plugin=plugin,
        live=opened.live,
        container=opened.container,
        pictures=found.pictures,
        others=opened.others,
        duration_s=opened.duration_s,
        frames_estimate=opened.frames_estimate,
        cut_short=opened.cut_short,
        looked_s=found.now_s(),
        ended=found.ended,
        broke_off=redact(str(found.error)) if found.error else "",
        open_s=found.opened_s,
        first_packet_s=found.first_packet_s,
        first_frame_s=found.first_frame_s,
        frames_seen=len(seen),
        declared_fps=opened.declared_fps,
        steps=steps,
        arrivals=measure_arrivals([each.arrived_s for each in seen], _SETTLE_S) if opened.live else None,
        bitrate=8 * sum(each.size for each in seen) / span_s if by_packets and span_s else None,
        gop=measure_gops([each.key for each in seen]) if by_packets else None,
        reordering_depth=depth if by_packets and opened.has_pts else None,
        b_frame_share=found.b_frames / found.decoded if by_packets and found.decoded else None,
        disposable_share=disposable / len(seen) if disposable else None,
        corrupt_packets=sum(each.corrupt for each in seen),
        decode_errors=found.decode_errors,
        damaged_frames=found.damaged,
        lost_frames=max(found.losses.lost, _swallowed(found, opened, depth)),
        decoded_frames=found.decoded,
        decode_ms=1000 * found.decode_cpu_s / found.decoded if found.decoded else None,
        wall_clock_offset_s=min(found.clock_offsets_s, default=None),
    )


def _swallowed(found: Observations, opened: Opened, depth: int) -> int:
    """Return how many pictures of a feed went into the decoder and never came out.

    Of what a network loses the decoder says nothing, and gives no picture from there to the next keyframe. In a file a
    packet without a picture may be as it should be, and so it may where two fields make a picture.
    """
    if not (opened.live and opened.by_packets) or (found.pictures is not None and found.pictures.interlaced):
        return 0
    held = 0 if found.drained else depth + 1
    return max(0, found.sent - found.decoded - held)
