"""Which packets need not be decoded, decided a few packets ahead of the decoder."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from av.packet import Packet
from av.video.stream import VideoStream

from streamtrack.sources._bitstream import Role
from streamtrack.sources._timeline import Numbering

# Further than this nobody looks ahead for the end of a group of pictures.
_MAX_HELD = 1024


class OrderUnknown(Exception):
    """The order of the frames cannot be known; the message says why."""


@dataclass(slots=True)
class _Gop:
    """Packets from a fresh one to the next, so that none refers to another such group."""

    last_wanted: int = -1
    """Number of the last packet whose frame is known to be wanted."""
    undecided: int = 0
    """Frames of which it is not yet known whether they are wanted."""
    complete: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """A packet, and what is known about its frame."""

    packet: Packet[VideoStream]
    stamp: int | None
    """Of its frame in presentation order; None where an edit list hides the frame."""
    role: Role
    number: int
    """In order of decoding."""
    gop: _Gop = field(repr=False)
    wanted: bool | None
    """Whether the frame is wanted; None until its rank is known."""
    sent: bool | None = None
    """Whether it is to be decoded; None until that is known."""


class Plan:
    """Decides which packets to decode: those of wanted frames, and those that these may refer to.

    A frame's rank in presentation order is final once its timestamp is not later than the newest packet's decode time,
    since no later packet can be presented before it is decoded. Its index and time, and with them whether it is wanted,
    are known from then on. A packet is left out if its own frame is not wanted and either nothing refers to it, or
    nothing wanted comes after it before the next packet that starts afresh.
    """

    def __init__(self, numbering: Numbering) -> None:
        """Start at a fresh packet; ``numbering`` is where the frame before it left off, and belongs to the plan."""
        self.ranked: deque[Entry] = deque()
        """Packets whose frames' ranks are final, in presentation order. Who has dealt with one takes it out."""
        self.spares = True
        """Whether to leave out any more."""
        self._numbering = numbering
        self._held: deque[Entry] = deque()
        self._unranked: list[tuple[int, int, Entry]] = []
        self._stamps: set[int] = set()
        self._newest_dts: int | None = None
        self._last_ranked: int | None = None
        self._gop = _Gop()
        self._count = 0

    def add(self, packet: Packet[VideoStream], stamp: int | None, role: Role) -> Entry:
        """Take the next packet in order of decoding.

        Args:
            packet: the packet.
            stamp: when its frame is presented, in the unit of its decode time.
            role: what it is to others; not ``UNKNOWN``.

        Raises:
            OrderUnknown: its timestamps do not say where its frame belongs. The packet is not taken.
        """
        shown = not packet.is_discard
        self._check(packet.dts, stamp, shown=shown)
        if role is Role.FRESH:
            self._gop.complete = True
            self._gop = _Gop()
        entry = Entry(packet, stamp if shown else None, role, self._count, self._gop, None if shown else False)
        self._count += 1
        self._held.append(entry)
        if shown and stamp is not None:
            self._gop.undecided += 1
            self._stamps.add(stamp)
            heapq.heappush(self._unranked, (stamp, entry.number, entry))
        if packet.dts is not None:
            self._newest_dts = packet.dts
            self._rank(packet.dts)
        return entry

    def _check(self, dts: int | None, stamp: int | None, *, shown: bool) -> None:
        newest = self._newest_dts
        if dts is None and newest is not None:
            raise OrderUnknown("decode times are missing")
        if dts is not None and newest is not None and dts <= newest:
            raise OrderUnknown("decode times do not increase")
        if not shown:
            return
        if stamp is None:
            raise OrderUnknown("there are no presentation times")
        if dts is not None and stamp < dts:
            raise OrderUnknown("frames are presented before they are decoded")
        if stamp in self._stamps or (self._last_ranked is not None and stamp <= self._last_ranked):
            raise OrderUnknown("presentation times repeat or go back")

    def _rank(self, newest: float) -> None:
        while self._unranked and self._unranked[0][0] <= newest:
            stamp, _, entry = heapq.heappop(self._unranked)
            self._stamps.discard(stamp)
            self._last_ranked = stamp
            entry.wanted = self._numbering.next(stamp).wanted
            entry.gop.undecided -= 1
            if entry.wanted:
                entry.gop.last_wanted = max(entry.gop.last_wanted, entry.number)
            self.ranked.append(entry)

    def end(self) -> None:
        """Note that no more packets will come."""
        self._gop.complete = True
        self._rank(float("inf"))

    def decided(self) -> Iterator[Entry]:
        """Yield the packets of which it is known by now whether to decode them, in order of decoding."""
        while self._held:
            entry = self._held[0]
            entry.sent = self._verdict(entry)
            if entry.sent is None:
                return
            self._held.popleft()
            yield entry

    def _verdict(self, entry: Entry) -> bool | None:
        gop = entry.gop
        if not self.spares or entry.wanted or (entry.role is not Role.DISPOSABLE and entry.number <= gop.last_wanted):
            return True
        if entry.wanted is False and entry.role is Role.DISPOSABLE:
            return False
        if gop.complete and not gop.undecided:
            return False
        return True if len(self._held) > _MAX_HELD else None
