"""Packets in, frames out, whatever is wrong with the packets."""

from __future__ import annotations

from collections.abc import Iterator

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamtrack.errors import SourceError
from streamtrack.sources._container import hide_secrets, reason
from streamtrack.sources._losses import Losses

# A damaged container may fail many times in a row and then be readable again; one that makes no progress is at its end.
_MAX_FAILURES = 64
# Errors of the medium, not of what is on it.
_UNREADABLE = (OSError, av.ExitError, av.HTTPError)


class Decoder:
    """Gives every frame of a stream that can be decoded, in presentation order, and counts the rest in ``losses``.

    ``container.decode()`` ends at the first error, so this goes packet by packet. Packets that an edit list leaves out
    are decoded, because others refer to them, but give no frame.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, *, label: str, listed: int, persistent: bool
    ) -> None:
        """Prepare to read.

        Args:
            container: where from.
            stream: one of its streams; nobody else reads the container.
            label: what to call the source in errors.
            listed: how many packets the container's index lists, so that missing ones can be counted; 0 for unknown.
            persistent: whether to try again when reading fails, as one does with a file and not with a feed.
        """
        self.losses = Losses()
        self.packets = 0
        """Packets so far that should each give a frame."""
        self.errors = 0
        """How often anything went wrong so far, in the container or in the decoder."""
        self._listed = listed
        self._container = container
        self._stream = stream
        self._label = label
        self._persistent = persistent

    def frames(self) -> Iterator[VideoFrame]:
        """Yield the frames.

        Raises:
            SourceError: the source can no longer be read.
        """
        for packet in self.read():
            self.expect(packet)
            yield from map(self.accept, self.decode(packet))
        yield from map(self.accept, self.decode(None))
        self.end()

    def expect(self, packet: Packet[VideoStream]) -> None:
        """Count on the frame of a packet that is about to be decoded."""
        if not packet.is_discard:
            self.losses.sent(packet.pts, damaged=packet.is_corrupt)

    def send(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Return the frames that are ready once the decoder has a packet, or with None, all that are left.

        Raises:
            av.FFmpegError: the decoder does not take it.
        """
        try:
            return self._stream.decode(packet)
        except EOFError:
            return []

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Do as ``send`` does, and count an error instead of raising it."""
        try:
            return self.send(packet)
        except av.FFmpegError:
            self.errors += 1
            self.losses.failed()
            return []

    def accept(self, frame: VideoFrame) -> VideoFrame:
        """Return ``frame``, having noted that it came out."""
        self.errors += frame.is_corrupt
        self.losses.received(frame.pts, damaged=frame.is_corrupt)
        return frame

    def flush(self) -> None:
        """Make the decoder forget everything, so that it can start anew with a keyframe."""
        self._stream.codec_context.flush_buffers()

    def end(self) -> None:
        """Count what is missing at the end."""
        self.losses.ended()
        unsent = self._listed - self.packets
        if unsent > 0 and self.losses.damaged:
            self.losses.skipped(unsent)

    def read(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets, except one that the end of the file cut short.

        Its picture is at best a part, and the decoder's error about it would surface while it is drained, where PyAV
        gives up the frames behind it.

        Raises:
            SourceError: the source can no longer be read.
        """
        held = None
        for packet in self._packets():
            if held is not None:
                yield self._counted(held)
            held = packet if packet.is_corrupt else None
            if held is None:
                yield self._counted(packet)
        if held is not None:
            self.packets += 1
            self.errors += 1
            self.losses.skipped(1)

    def _counted(self, packet: Packet[VideoStream]) -> Packet[VideoStream]:
        self.packets += not packet.is_discard
        self.errors += packet.is_corrupt
        return packet

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        packets = self._container.demux(self._stream)
        failures = 0
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            # PyAV raises IndexError where damage makes a new stream appear.
            except (av.FFmpegError, IndexError) as error:
                failures += 1
                self.errors += 1
                self.losses.disturbed()
                unreadable = isinstance(error, _UNREADABLE)
                if unreadable and (failures > _MAX_FAILURES or not self._persistent):
                    raise SourceError(f"{self._label} broke off: {reason(error)}.") from hide_secrets(error)
                if failures > _MAX_FAILURES:
                    return
                packets = self._container.demux(self._stream)
                continue
            failures = 0
            # Empty ones mean "as before" in AVI, and "flush" at the end; sent to the decoder, either would end it.
            if packet.size:
                yield packet
