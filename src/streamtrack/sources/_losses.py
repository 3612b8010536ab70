"""How many frames a stream holds that the decoder did not give."""

from __future__ import annotations

# No decoder holds back so many; a stream with so many packets and no frame is not worth the memory.
_MAX_WAITING = 1 << 16


class Losses:
    """Matches the packets that went into a decoder with the frames that came out, by timestamp.

    Decoders lose frames without a word: of a damaged clip FFmpeg's HEVC decoder dropped 124 frames and reported 6
    errors. In most streams a packet is a frame and frames come out in presentation order, so a packet that is overtaken
    by a later one is lost. That is believed only once something is known to be damaged: in an intact stream a packet
    without a frame is a field, or a reference that is never shown. Such a stream, and one without timestamps, counts
    the decoder's errors instead.
    """

    def __init__(self) -> None:
        self.damaged = False
        """Whether anything is known to be wrong with the stream."""
        self._waiting: set[int] = set()
        self._one_to_one = True
        self.started = False
        """Whether any frame has come out."""
        self._missing = 0
        self._invented = 0

    @property
    def lost(self) -> int:
        """Frames lost so far."""
        return max(0, self._missing - self._invented)

    def sent(self, pts: int | None, *, damaged: bool) -> None:
        """Note a packet that goes into the decoder, and whether the container calls it damaged."""
        self.damaged |= damaged
        if pts is None or len(self._waiting) >= _MAX_WAITING:
            self._unpair()
        elif self._one_to_one:
            self._waiting.add(pts)

    def disturbed(self) -> None:
        """Note an error of the container: what is missing will show."""
        self.damaged = True

    def failed(self) -> None:
        """Note an error of the decoder."""
        self.damaged = True
        if not self._one_to_one:
            self._missing += 1

    def skipped(self, frames: int) -> None:
        """Note frames that are known to be lost without having been sent."""
        self.damaged = True
        self._missing += frames

    def received(self, pts: int | None, *, damaged: bool) -> None:
        """Note a frame that came out, and whether the decoder calls it damaged."""
        self.damaged |= damaged
        # What precedes the first frame refers to pictures before the beginning of the file.
        believed = self.damaged or not self.started
        self.started = True
        if not self._one_to_one:
            return
        if pts not in self._waiting and self.damaged:
            # FFmpeg's H.264 decoder fills gaps with pictures of its own.
            self._invented += 1
            return
        overtaken = {other for other in self._waiting if pts is not None and other < pts}
        if pts not in self._waiting or (overtaken and not believed):
            self._unpair()
            return
        self._missing += len(overtaken)
        self._waiting -= overtaken | {pts}

    def ended(self) -> None:
        """Note that nothing more will come out."""
        if self.damaged:
            self._missing += len(self._waiting)
        self._waiting.clear()

    def _unpair(self) -> None:
        self._one_to_one = False
        self._waiting.clear()
