"""How far whoever decodes a live feed has fallen behind it, and which packets to leave out to catch up.

What is not decoded in time waits in the socket, without bound: a decoder at half the feed's pace is a minute behind
after two.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

from streamtrack.sources._bitstream import Role, RoleOf
from streamtrack.types import NS_PER_S

LATE_NS: Final = NS_PER_S // 2
"""So far behind for a while, what nothing refers to is left out."""
TOO_LATE_NS: Final = 3 * NS_PER_S // 2
"""So far behind, everything is left out up to a keyframe that is in time."""
PATIENCE_NS: Final = NS_PER_S // 2
"""That while: whoever was held up for once, by an import say, and decodes fast catches up within it without loss."""
# A decode time that goes back by so much is of a clock that was set anew.
_RESTART_NS: Final = NS_PER_S // 10
# Whoever spends this share of its time waiting for packets has all that there are.
_WAITING: Final = 0.4
_MEMORY_NS: Final = NS_PER_S
_UNKNOWN_NS: Final = 1 << 63
# One long silence says little: what was held up behind it may come all at once.
_MAX_SPAN_NS: Final = NS_PER_S // 5


class CodedPacket(Protocol):
    """What is looked at of a packet."""

    @property
    def pts(self) -> int | None:
        """When its frame is presented."""
        ...

    @property
    def is_keyframe(self) -> bool:
        """Whether decoding can begin with it."""
        ...

    def __bytes__(self) -> bytes: ...


class Backlog:
    """Measures how far behind a feed its reader is.

    A packet's lateness is when it was read less when it was to be decoded by the feed's own clock; the least lateness
    is that of a reader that keeps up. It is not a minimum over some time, which a pause of the feed itself (its clock
    stands still and then goes on) would make wrong for as long: a reader that mostly waits for packets keeps up by
    definition, so whatever lateness it has then is the least from there on. That takes care of clocks that drift or are
    set anew, and of a network that has become slower, too.
    """

    def __init__(self) -> None:
        self._least_ns = _UNKNOWN_NS
        self._stamp_ns = self._read_ns = 0
        self._waiting = 0.0
        """Share of the last second or so that was spent waiting."""

    def behind_ns(self, stamp_ns: int | None, waited_ns: int, now_ns: int) -> int:
        """Return how far behind the reader is at the next packet, in ns; 0 where nobody can know.

        Args:
            stamp_ns: when to decode the packet, by the feed's clock.
            waited_ns: for how long there was nothing to read before it.
            now_ns: when it was read, by the monotonic clock.
        """
        if stamp_ns is None:
            return 0
        lateness_ns = now_ns - stamp_ns
        step_ns = stamp_ns - self._stamp_ns
        keeps_up = self._keeps_up(waited_ns, now_ns - self._read_ns, step_ns)
        if keeps_up or step_ns < -_RESTART_NS or lateness_ns < self._least_ns:
            self._least_ns = lateness_ns
        self._stamp_ns, self._read_ns = stamp_ns, now_ns
        return lateness_ns - self._least_ns

    def _keeps_up(self, waited_ns: int, span_ns: int, step_ns: int) -> bool:
        """Return whether it mostly waited for this packet, and for those before, at the feed's own pace."""
        share = waited_ns / max(1, waited_ns, span_ns, step_ns)
        kept = math.exp(-min(span_ns, _MAX_SPAN_NS) / _MEMORY_NS)
        self._waiting = kept * self._waiting + (1 - kept) * share
        return min(share, self._waiting) >= _WAITING


class CatchUp:
    """Chooses which packets to leave out, so that all that are decoded have what they refer to.

    A feed is left out up to its next keyframe only if it has shown two: some send one and never again.
    """

    def __init__(self, role_of: RoleOf | None, *, intra_only: bool) -> None:
        """Leave out nothing yet.

        Args:
            role_of: tells the role of each packet; None where nothing is known of that.
            intra_only: whether no frame refers to any other.
        """
        self.until_keyframe = False
        """Whether everything is being left out up to a keyframe."""
        self._role_of, self._intra_only = role_of, intra_only
        self._keyframes = 0
        self._late_ns: int | None = None
        """Since when it has been late."""
        self._is_late = False
        """Whether it has been so for long enough that something is to be done."""
        self._resumed_pts: int | None = None

    def leaves_out(self, packet: CodedPacket, behind_ns: int, now_ns: int) -> bool:
        """Return whether not to decode the next packet, which was read at ``now_ns``, ``behind_ns`` after its time."""
        self._keyframes += packet.is_keyframe
        self._look(behind_ns, now_ns)
        disposable = self._is_disposable(packet)
        if self.until_keyframe:
            self.until_keyframe = not packet.is_keyframe or behind_ns > LATE_NS
            self._resumed_pts = packet.pts
            return self.until_keyframe
        if self._is_leading(packet) or (disposable and self._is_late):
            return True
        self.until_keyframe = self._is_late and behind_ns > TOO_LATE_NS and self._keyframes > 1
        return self.until_keyframe

    def _look(self, behind_ns: int, now_ns: int) -> None:
        # Until half of it has been made up for: leaving out one frame now and then would go on for ever.
        if behind_ns <= (LATE_NS if self._late_ns is None else LATE_NS // 2):
            self._late_ns = None
        elif self._late_ns is None:
            self._late_ns = now_ns
        self._is_late = self._late_ns is not None and now_ns - self._late_ns >= PATIENCE_NS

    def _is_disposable(self, packet: CodedPacket) -> bool:
        if self._intra_only or self._role_of is None:
            return self._intra_only
        # Keyframes bring the parameter sets that tell how to read the others.
        known = packet.is_keyframe or self._is_late
        return known and self._role_of(bytes(packet), packet.is_keyframe) is Role.DISPOSABLE

    def _is_leading(self, packet: CodedPacket) -> bool:
        """Return whether a packet follows the keyframe of a new beginning and is presented before it.

        Such may refer to what was left out, and nothing that is presented after the keyframe refers to them.
        """
        if self._resumed_pts is None:
            return False
        if packet.pts is not None and packet.pts < self._resumed_pts:
            return True
        self._resumed_pts = None
        return False
