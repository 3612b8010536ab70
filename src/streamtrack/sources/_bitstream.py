"""What the frame in a packet is to the frames of other packets, read from the first bytes of its coded pictures.

H.264 by ITU-T H.264 7.3 (2021), HEVC by ITU-T H.265 7.3 (2021), VP9 by its bitstream specification 6.2 and annex B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum

# Everything that is looked at in a slice header lies in so many bytes.
_SLICE_HEAD = 24
_CHROMA_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})


class Role(Enum):
    """What a packet is to the others."""

    FRESH = "fresh"
    """Nothing from here on refers to anything before."""
    KEY = "key"
    """Nothing that is presented after it refers to anything before it, but what is presented before it may."""
    REFERENCE = "reference"
    """Others may refer to it."""
    DISPOSABLE = "disposable"
    """Nothing refers to it."""
    UNKNOWN = "unknown"
    """Not to be understood, or not exactly one frame."""


RoleOf = Callable[[bytes, bool], Role]
"""Tells the role of a packet's data, given whether the container calls it a keyframe. Packets come in order of
decoding, because some describe those that follow."""


def roles_of(codec: str, extradata: bytes | None, *, intra_only: bool) -> RoleOf | None:
    """Return what tells the roles of a stream's packets; None where nothing is known about its codec.

    Args:
        codec: FFmpeg's name of the codec.
        extradata: the stream's header, if it has one.
        intra_only: whether no frame of this codec ever refers to another.
    """
    if intra_only:
        return lambda _data, _key: Role.FRESH
    if codec == "h264":
        return _H264(extradata or b"")
    if codec == "hevc":
        return _Hevc(extradata or b"")
    if codec == "vp9":
        return _vp9_role
    # One frame a packet; the container's word for a keyframe is the codec's.
    return _marked_role if codec in ("av1", "ffv1") else None


def _marked_role(_data: bytes, keyframe: bool) -> Role:
    return Role.FRESH if keyframe else Role.REFERENCE


def _vp9_role(data: bytes, _keyframe: bool) -> Role:
    bits = Bits(data[:2])
    if bits.take(2) != 2:
        return Role.UNKNOWN
    profile = bits.take(1) | bits.take(1) << 1
    if profile == 3:
        bits.take(1)
    if bits.take(1):  # shows a frame decoded before
        return Role.REFERENCE
    fresh = not bits.take(1)
    shown = bits.take(1)
    several = data[-1] & 0xE0 == 0xC0
    # A hidden frame travels with one that is shown; alone it would be a packet without a frame.
    if not shown and not several:
        return Role.UNKNOWN
    return Role.FRESH if fresh else Role.REFERENCE


class Bits:
    """Reads the fields of a header, most significant bit first; beyond its end there are zeros."""

    def __init__(self, data: bytes) -> None:
        """Start at the beginning of ``data``."""
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next ``count`` bits: u(n)."""
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return shifted & ((1 << count) - 1)

    def golomb(self) -> int:
        """Return the next Exp-Golomb code: ue(v)."""
        rest = self._value & ((1 << max(self._left, 0)) - 1)
        zeros = min(32, self._left - rest.bit_length()) if rest else 32
        self._left -= zeros + 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed_golomb(self) -> int:
        """Return the next signed Exp-Golomb code: se(v)."""
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def units(data: bytes, length_size: int) -> Iterator[tuple[int, int]]:
    """Yield where in ``data`` each of its NAL units begins and ends.

    Args:
        data: a packet.
        length_size: bytes of the length before each unit; 0 where start codes separate them.

    Raises:
        ValueError: the lengths do not fit the packet.
    """
    at, end = 0, len(data)
    if not length_size:
        start = data.find(b"\0\0\1") + 3
        while 2 < start < end:
            following = data.find(b"\0\0\1", start)
            yield start, end if following < 0 else following
            start = following + 3
        return
    while at < end:
        start = at + length_size
        at = start + int.from_bytes(data[at:start], "big")
        if at > end or at <= start:
            raise ValueError("the units do not fit the packet")
        yield start, at


class _ParameterSets:
    """Remembers parameter sets, and tells a packet that brings others: it may not be left out."""

    def __init__(self) -> None:
        self._known: dict[int, set[bytes]] = {}

    def learn(self, found: list[tuple[int, bytes]]) -> bool:
        """Take note of (kind, unit) pairs that came together; return whether any is new."""
        if not found:
            return False
        by_kind: dict[int, set[bytes]] = {}
        for kind, unit in found:
            by_kind.setdefault(kind, set()).add(unit.rstrip(b"\0"))
        new = {kind: sets for kind, sets in by_kind.items() if not sets <= self._known.get(kind, set())}
        self._known.update(new)
        return bool(new)


def _unescaped(data: bytes) -> bytes:
    return data.replace(b"\0\0\3", b"\0\0")


class _H264:
    """Nothing refers to a picture whose slices have ``nal_ref_idc`` 0; an IDR picture starts afresh."""

    def __init__(self, extradata: bytes) -> None:
        self._progressive = False
        self._frame_num_bits = 0  # until a parameter set says so
        self._planes_apart = False
        self._length_size = 0
        self._sets = _ParameterSets()
        if extradata[:1] == b"\1" and len(extradata) > 8:
            self._length_size = (extradata[4] & 3) + 1
            sets, after = _counted_units(extradata, 6, extradata[5] & 31)
            sets += _counted_units(extradata, after + 1, extradata[after])[0] if after < len(extradata) else []
        else:
            sets = [extradata[start:end] for start, end in units(extradata, 0)]
        self._learn([(unit[0] & 31, unit) for unit in sets])

    def __call__(self, data: bytes, keyframe: bool) -> Role:
        pictures, fields, fresh, plain, referred, intra = 0, False, False, True, False, keyframe
        sets: list[tuple[int, bytes]] = []
        try:
            for start, end in units(data, self._length_size):
                kind, head = data[start] & 31, data[start + 1 : min(end, start + 1 + _SLICE_HEAD)]
                if kind in (1, 5) and head:
                    if keyframe or not self._progressive:
                        is_field, is_intra = self._read_slice(head)
                        fields |= is_field
                        intra &= is_intra
                    pictures += head[0] >> 7  # first_mb_in_slice is 0
                    referred |= data[start] & 0x60 != 0
                    fresh |= kind == 5
                elif kind in (7, 8):
                    sets.append((kind, data[start:end]))
                # What lies beside a picture matters to others unless it is known not to: SEI, delimiter, filler.
                plain &= kind in (1, 6, 9, 12)
        except ValueError:
            return Role.UNKNOWN
        if self._learn(sets) or fields or pictures != 1 or not self._frame_num_bits:
            return Role.UNKNOWN
        if fresh:
            return Role.FRESH
        # A keyframe that is not intra is where a gradual refresh begins.
        if intra:
            return Role.KEY
        return Role.REFERENCE if referred or not plain else Role.DISPOSABLE

    def _learn(self, sets: list[tuple[int, bytes]]) -> bool:
        new = self._sets.learn(sets)
        for kind, unit in sets if new else ():
            if kind == 7:
                self._read_parameters(unit)
        return new

    def _read_slice(self, head: bytes) -> tuple[bool, bool]:
        """Return whether a slice is of a field, and whether it refers to nothing."""
        bits = Bits(_unescaped(head))
        bits.golomb()
        intra = bits.golomb() % 5 in (2, 4)
        if self._progressive or not self._frame_num_bits:
            return False, intra
        bits.golomb()
        bits.take(2 * self._planes_apart + self._frame_num_bits)
        return bool(bits.take(1)), intra

    def _read_parameters(self, unit: bytes) -> None:
        bits = Bits(_unescaped(unit[1:512]))
        profile = bits.take(8)
        bits.take(16)
        bits.golomb()
        self._planes_apart = False
        if profile in _CHROMA_PROFILES:
            self._read_chroma(bits)
        self._frame_num_bits = bits.golomb() + 4
        order_type = bits.golomb()
        if order_type == 0:
            bits.golomb()
        elif order_type == 1:
            bits.take(1)
            bits.golomb(), bits.golomb()
            for _ in range(min(bits.golomb(), 255)):
                bits.golomb()
        bits.golomb()
        bits.take(1)
        bits.golomb(), bits.golomb()
        self._progressive = bool(bits.take(1))

    def _read_chroma(self, bits: Bits) -> None:
        chroma = bits.golomb()
        if chroma == 3:
            self._planes_apart = bool(bits.take(1))
        bits.golomb(), bits.golomb()
        bits.take(1)
        if not bits.take(1):
            return
        for number in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _pass_scaling_list(bits, 16 if number < 6 else 64)


def _pass_scaling_list(bits: Bits, size: int) -> None:
    scale = following = 8
    for _ in range(size):
        if following:
            following = (scale + bits.signed_golomb()) % 256
        scale = following or scale


def _counted_units(data: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """Return ``count`` units with a length of two bytes before each, from ``at`` on, and where they end."""
    found = []
    for _ in range(count):
        size = int.from_bytes(data[at : at + 2], "big")
        if unit := data[at + 2 : at + 2 + size]:
            found.append(unit)
        at += 2 + size
    return found, at


class _Hevc:
    """Nothing refers to a sub-layer non-reference picture of the highest layer; an IDR picture starts afresh.

    Such a picture of a lower layer may still be referred to by higher ones.
    """

    def __init__(self, extradata: bytes) -> None:
        self._highest_layer = -1
        self._length_size = 0
        self._sets = _ParameterSets()
        sets = []
        if extradata[:1] == b"\1" and len(extradata) > 22:
            self._length_size = (extradata[21] & 3) + 1
            at = 23
            for _ in range(extradata[22]):
                found, at = _counted_units(extradata, at + 3, int.from_bytes(extradata[at + 1 : at + 3], "big"))
                sets += found
        else:
            sets = [extradata[start:end] for start, end in units(extradata, 0)]
        self._learn([(unit[0] >> 1 & 63, unit) for unit in sets])

    def __call__(self, data: bytes, keyframe: bool) -> Role:
        pictures, fresh, intra, disposable = 0, False, False, True
        sets: list[tuple[int, bytes]] = []
        try:
            for start, end in units(data, self._length_size):
                head = data[start : min(end, start + 3)]
                if len(head) < 3:
                    continue
                kind, layer = head[0] >> 1 & 63, (head[0] & 1) << 5 | head[1] >> 3
                if kind < 32 and not layer:
                    pictures += head[2] >> 7  # first_slice_segment_in_pic_flag
                    fresh |= kind in (19, 20)
                    intra |= 16 <= kind <= 21
                    disposable &= kind < 16 and not kind % 2 and (head[1] & 7) - 1 == self._highest_layer
                else:
                    if kind in (32, 33, 34):
                        sets.append((kind, data[start:end]))
                    disposable &= kind in (35, 38, 39, 40) and not layer
        except ValueError:
            return Role.UNKNOWN
        if self._learn(sets) or pictures != 1 or self._highest_layer < 0:
            return Role.UNKNOWN
        if fresh:
            return Role.FRESH
        if intra:
            return Role.KEY
        return Role.DISPOSABLE if disposable else Role.REFERENCE

    def _learn(self, sets: list[tuple[int, bytes]]) -> bool:
        new = self._sets.learn(sets)
        for kind, unit in sets if new else ():
            if kind == 33 and len(unit) > 2:  # sps_max_sub_layers_minus1
                self._highest_layer = max(self._highest_layer, unit[2] >> 1 & 7)
        return new
