"""What the faults of a schedule do to frames: pictures missing, twice, garbled or of another size, times that jump."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from av.video.frame import VideoFrame

from streamtrack.sources._faults import Fault
from streamtrack.sources._picture import AvPicture
from streamtrack.types import Picture, UInt8Array

_BLOCK = 16
"""Side in px of what gets lost: a macroblock of H.264."""


class Shot(NamedTuple):
    """A picture and its time, as a feed sends them."""

    picture: Picture
    width: int
    height: int
    pts_ns: int
    damaged: bool = False


class Spoiler:
    """Does to a series of frames what ``faults`` say; always the same for the same ``seed`` and frames."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults, self._seed = faults, seed
        self._chance = random.Random(seed)
        self._previous_ns = -1
        self._shift_ns = 0

    def spoil(self, at_ns: int, shot: Shot) -> list[Shot]:
        """Return what becomes of the next frame: nothing, one or two.

        Args:
            at_ns: when it is sent, by the schedule's clock; never decreasing.
            shot: the frame.
        """
        striking = [fault for fault in self._faults if self._strikes(fault, at_ns)]
        self._previous_ns = at_ns
        names = {fault.name for fault in striking}
        if names & {"drop", "freeze"}:
            return []
        shot = shot._replace(pts_ns=shot.pts_ns + self._shift_ns)
        sizes = [fault.size for fault in striking if fault.size]
        if sizes:
            shot = _resized(shot, sizes[-1])
        if "corrupt" in names:
            shot = _garbled(shot, (self._seed, at_ns))
        return [shot, shot] if "duplicate" in names else [shot]

    def _strikes(self, fault: Fault, at_ns: int) -> bool:
        begins = fault.strikes(self._previous_ns, at_ns)
        if fault.name == "jump":
            self._shift_ns += begins * fault.amount_ns
        if fault.share is not None:
            return fault.holds(at_ns) and self._chance.random() < fault.share
        if fault.for_ns is None and fault.name in ("drop", "duplicate", "corrupt"):
            return begins > 0
        return fault.holds(at_ns)


class _Rendered:
    """A picture that is made when it is first looked at; making it twice gives the same."""

    __slots__ = ("_picture", "_render")

    def __init__(self, render: Callable[[], UInt8Array]) -> None:
        self._render = render
        self._picture: AvPicture | None = None

    def rgb(self, region: tuple[int, int, int, int], size: tuple[int, int], *, planar: bool) -> UInt8Array:
        """Return ``region`` at ``size``, as ``types.Picture`` says."""
        picture = self._picture
        if picture is None:
            picture = self._picture = AvPicture(VideoFrame.from_ndarray(self._render(), "rgb24"))
        return picture.rgb(region, size, planar=planar)


def _resized(shot: Shot, size: tuple[int, int]) -> Shot:
    whole = (0, 0, shot.width, shot.height)
    picture = _Rendered(lambda: shot.picture.rgb(whole, size, planar=False))
    return shot._replace(picture=picture, width=size[0], height=size[1])


def _garbled(shot: Shot, seed: tuple[int, int]) -> Shot:
    whole, size = (0, 0, shot.width, shot.height), (shot.width, shot.height)
    return shot._replace(
        picture=_Rendered(lambda: garble(shot.picture.rgb(whole, size, planar=False), seed)), damaged=True
    )


def garble(rgb: UInt8Array, seed: tuple[int, int]) -> UInt8Array:
    """Return ``rgb`` as a decoder shows it that lost a slice: below a random row blocks are displaced or lost.

    Args:
        rgb: (height, width, 3).
        seed: of the damage: at least 0 each.

    Returns:
        RGB uint8 of the same shape; the rows above the damage, at most half of them, are as they were.
    """
    chance = np.random.default_rng(seed)
    height, width = rgb.shape[:2]
    garbled = rgb.copy()
    for top in range(int(chance.integers(0, height // 2 + 1)), height, _BLOCK):
        row = np.roll(rgb[top : top + _BLOCK], _BLOCK * int(chance.integers(1, 8)), axis=1)
        lost = np.repeat(chance.random(-(-width // _BLOCK)) < 0.5, _BLOCK)[:width]
        row[:, lost] = chance.integers(0, 256, (len(row), int(lost.sum()), 3))
        garbled[top : top + _BLOCK] = row
    return garbled
