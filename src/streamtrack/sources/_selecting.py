"""A decoder that is spared the packets no wanted frame needs, and gives exactly what it would have given with them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamtrack.sources._bitstream import Role, RoleOf
from streamtrack.sources._decoding import Decoder
from streamtrack.sources._skipping import Entry, OrderUnknown, Plan
from streamtrack.sources._timeline import Numbering
from streamtrack.types import SourceStats

# Packets are kept from the last keyframe on, to go back to; a stream with none for so long is decoded whole.
_MAX_KEPT_BYTES = 64 << 20
# What is wrong with a stream so often is wrong all over.
_MAX_BEGINNINGS = 9
_LASTING_SIDE_DATA: Final = ("new_extradata", "param_change", "palette")


class LeftOut(NamedTuple):
    """A frame that was not decoded, in the place where it would have come."""

    stamp: int


class SelectiveDecoder:
    """Gives the frames of a ``Decoder`` in presentation order, with ``LeftOut`` in place of those it never decoded.

    Where the order of frames cannot be known every packet is decoded, until one that starts afresh gives another
    chance. What was left out before damage shows may be wanted after all, because a lost frame moves the numbers of all
    that follow: then the decoder goes back to the last keyframe, decodes everything from there, and leaves out nothing
    any more.
    """

    def __init__(
        self, decoder: Decoder, role_of: RoleOf, numbering: Numbering, stats: SourceStats, *, by_dts: bool
    ) -> None:
        """Prepare to read.

        Args:
            decoder: used for nothing else.
            role_of: tells the role of each packet.
            numbering: which the caller advances by each item before it asks for the next.
            stats: where to tell which packets are decoded, and why.
            by_dts: whether frames are presented in order of decoding.
        """
        self._decoder = decoder
        self._role_of = role_of
        self._numbering = numbering
        self._stats = stats
        self._by_dts = by_dts
        self._plan: Plan | None = None
        self._arrived: deque[VideoFrame] = deque()
        self._kept: deque[Entry] = deque()
        self._kept_bytes = 0
        self._chances = _MAX_BEGINNINGS
        self._fed = False
        self._harmless_errors = 0
        self._last: int | None = None  # stamp of the last item that a plan gave
        self._given_before: int | None = None  # frames up to this stamp come a second time
        self._left_out = False
        self._decode_all("it begins in the middle of a group of pictures")

    def items(self) -> Iterator[VideoFrame | LeftOut]:
        """Yield every frame, decoded or not.

        Raises:
            SourceError: the source can no longer be read.
        """
        for packet in self._decoder.read():
            role = self._role(packet) if self._plan is not None or self._chances else Role.UNKNOWN
            if self._plan is None and role is Role.FRESH and self._may_begin(packet):
                yield from self._begin()
            if self._plan is None:
                yield from self._decode(packet)
            else:
                yield from self._consider(self._plan, packet, role)
            self._fed = True
        if self._plan is not None:
            yield from self._end(self._plan)
        if self._plan is None:
            yield from self._decode(None)
        self._decoder.end()

    def _role(self, packet: Packet[VideoStream]) -> Role:
        # These change how the packets that follow are decoded.
        if any(data.data_type in _LASTING_SIDE_DATA for data in packet.iter_sidedata()):
            return Role.UNKNOWN
        return self._role_of(bytes(packet), packet.is_keyframe)

    def _stamp(self, timed: Packet[VideoStream] | VideoFrame) -> int | None:
        return timed.dts if self._by_dts else timed.pts

    # Leaving out nothing.

    def _decode_all(self, reason: str) -> None:
        self._plan, self._reason = None, reason
        start = f"what wanted frames need; all packets from frame {self._numbering.index} on"
        self._stats.decoding = f"{start if self._left_out else 'all packets'}: {reason}"

    def _decode(self, packet: Packet[VideoStream] | None, *, expected: bool = True) -> Iterator[VideoFrame]:
        decoder = self._decoder
        if packet is not None and expected:
            decoder.expect(packet)
        for frame in decoder.decode(packet):
            if self._given_before is not None:
                stamp = self._stamp(frame)
                if stamp is None or stamp <= self._given_before:
                    continue
                self._given_before = None
            yield decoder.accept(frame)

    # Leaving out what can be.

    def _may_begin(self, packet: Packet[VideoStream]) -> bool:
        if not self._decoder.losses.started:
            self._harmless_errors = self._decoder.errors
        harmless = self._decoder.errors == self._harmless_errors
        return self._chances > 0 and harmless and not packet.is_corrupt

    def _begin(self) -> Iterator[VideoFrame]:
        """Empty the decoder, so that every frame so far has its number, and leave out packets from here on."""
        if self._fed:
            yield from self._decode(None)
            self._decoder.flush()
        self._chances -= 1
        self._kept.clear()
        self._kept_bytes, self._last = 0, None
        self._plan = Plan(self._numbering.copy())
        before = f"; all packets before frame {self._numbering.index}: {self._reason}" if self._fed else ""
        self._stats.decoding = f"what wanted frames need{before}"

    def _consider(self, plan: Plan, packet: Packet[VideoStream], role: Role) -> Iterator[VideoFrame | LeftOut]:
        entry = None
        try:
            self._check(packet, role)
            entry = plan.add(packet, self._stamp(packet), role)
            self._kept.append(entry)
            self._kept_bytes += packet.size
            plan.spares = self._kept_bytes <= _MAX_KEPT_BYTES
            yield from self._advance(plan)
            if not plan.spares:
                yield from self._run_out(plan)
        except OrderUnknown as unknown:
            yield from self._go_back(str(unknown))
            if entry is None:
                yield from self._decode(packet)

    def _check(self, packet: Packet[VideoStream], role: Role) -> None:
        if packet.is_corrupt or self._decoder.errors != self._harmless_errors:
            raise OrderUnknown("the stream is damaged")
        if role is Role.UNKNOWN:
            raise OrderUnknown("a packet holds other than one frame, or changes the stream's parameters")

    def _advance(self, plan: Plan) -> Iterator[VideoFrame | LeftOut]:
        for entry in plan.decided():
            if entry.sent:
                self._decoder.expect(entry.packet)
                self._send(entry.packet)
                # At once: a picture that waits keeps the decoder from using its memory for the next.
                yield from self._emit(plan)
        yield from self._emit(plan)

    def _send(self, packet: Packet[VideoStream] | None) -> None:
        try:
            frames = self._decoder.send(packet)
        except av.FFmpegError as error:
            self._chances = 0
            raise OrderUnknown("the stream is damaged") from error
        if any(frame.is_corrupt for frame in frames):
            self._chances = 0
            raise OrderUnknown("the stream is damaged")
        self._arrived.extend(frames)

    def _emit(self, plan: Plan) -> Iterator[VideoFrame | LeftOut]:
        while plan.ranked:
            entry = plan.ranked[0]
            if entry.stamp is None or entry.sent is None or (entry.sent and not self._arrived):
                return
            if entry.sent and self._stamp(self._arrived[0]) != entry.stamp:
                self._chances = 0
                raise OrderUnknown("the decoder gives other frames than there are packets")
            plan.ranked.popleft()
            self._last = entry.stamp
            self._forget_before(entry)
            self._left_out |= not entry.sent
            yield self._decoder.accept(self._arrived.popleft()) if entry.sent else LeftOut(entry.stamp)

    def _forget_before(self, entry: Entry) -> None:
        """Let go of what precedes a keyframe, once that keyframe has been given: nobody will go back so far."""
        if entry.role not in (Role.FRESH, Role.KEY) or entry.stamp is None:
            return
        while (oldest := self._kept[0]) is not entry and (oldest.stamp is None or oldest.stamp < entry.stamp):
            self._kept_bytes -= self._kept.popleft().packet.size

    def _run_out(self, plan: Plan) -> Iterator[VideoFrame]:
        """Give up a plan that spares nothing any more, once everything it has left out is given."""
        if all(entry.sent for entry in plan.ranked):
            self._decode_all("keyframes are too far apart")
            self._kept.clear()
            while self._arrived:
                yield self._decoder.accept(self._arrived.popleft())

    def _go_back(self, reason: str) -> Iterator[VideoFrame]:
        """Decode everything since the last keyframe, some of it again, and give what is not yet given."""
        self._decode_all(reason)
        self._decoder.flush()
        self._arrived.clear()
        self._given_before = last = self._last
        for entry in self._kept:
            given = last is not None and entry.stamp is not None and entry.stamp <= last
            yield from self._decode(entry.packet, expected=not given)
        self._kept.clear()

    def _end(self, plan: Plan) -> Iterator[VideoFrame | LeftOut]:
        plan.end()
        try:
            yield from self._advance(plan)
            self._send(None)
            yield from self._emit(plan)
            if plan.ranked or self._arrived:
                raise OrderUnknown("the decoder gives other frames than there are packets")
        except OrderUnknown as unknown:
            yield from self._go_back(str(unknown))
        if not self._left_out and self._plan is not None:
            self._stats.decoding = "all packets: wanted frames need them all"
