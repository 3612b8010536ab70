"""What streamtrack must know of a model to feed it and to read its answer."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A detector's input and output conventions. Input is (B, 3, height, width) float32: ``(pixel - mean) * scale``."""

    name: str
    head: str
    """Which decoder reads its outputs: a name in ``streamtrack.models.heads.HEADS``, or ``auto`` for a model whose
    outputs shall tell."""
    input_size: tuple[int, int] = (640, 640)
    """(height, width) in px. For a model with ``dynamic_size`` the longest input: the shorter side follows the
    picture."""
    dynamic_size: bool = False
    """Height and width may be any multiple of ``size_multiple``."""
    size_multiple: Annotated[int, Meta(ge=1)] = 32
    channels: str = "rgb"
    """``rgb`` or ``bgr``."""
    mean: float | tuple[float, float, float] = 0.0
    """Of a pixel value (0-255): of all channels, or of each in the order of ``channels``."""
    scale: float | tuple[float, float, float] = 1.0
    """Of a pixel value less the mean; of all channels, or of each."""
    pad: float = 0.0
    """Pixel value (0-255, before mean and scale) of the part of the input that the picture does not cover."""
    classes: tuple[str, ...] = ("face",)
    keypoints: int = 0
