"""Heads: what decodes a model's output tensors into boxes, one small class for each family of models.

A head is bound to the names and shapes of a session's outputs, and then turns tensors into candidates. Candidates are
in pixels of the model's input, unsuppressed (no NMS) and unclamped; ``Detector`` does the rest, which is the same for
every model. Coordinates are continuous: 0 is the left edge of the leftmost pixel, the input's width its right edge.
Whatever numbers a model gives are decoded as they are: infinite and undefined ones are left to the detector too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from streamtrack.errors import ConfigError, did_you_mean
from streamtrack.models.heads.centerface import CenterFace
from streamtrack.models.heads.contract import ANY_SIZE, Candidates, Head, InputSize, Outputs
from streamtrack.models.heads.nanodet import NanoDet
from streamtrack.models.heads.retinaface import RetinaFace
from streamtrack.models.heads.rtdetr import RTDETR, ChosenRTDETR, ScaledRTDETR
from streamtrack.models.heads.scrfd import SCRFD
from streamtrack.models.heads.ultralight import RFB
from streamtrack.models.heads.yolo import EndToEnd, YOLOv5, YOLOv8
from streamtrack.models.heads.yolox import YOLOX, DecodedYOLOX
from streamtrack.models.heads.yunet import YuNet
from streamtrack.models.spec import ModelSpec

__all__ = [
    "ALIKE",
    "ANY_SIZE",
    "AUTO",
    "HEADS",
    "ON_REQUEST",
    "RFB",
    "RTDETR",
    "SCRFD",
    "YOLOX",
    "Candidates",
    "CenterFace",
    "ChosenRTDETR",
    "DecodedYOLOX",
    "EndToEnd",
    "Head",
    "InputSize",
    "NanoDet",
    "Outputs",
    "RetinaFace",
    "ScaledRTDETR",
    "YOLOv5",
    "YOLOv8",
    "YuNet",
    "conventions",
    "fitting",
    "head_named",
    "recognise",
    "told_apart",
]

AUTO: Final = "auto"
"""As ``ModelSpec.head``: the model's outputs shall tell."""

HEADS: Final[dict[str, type[Head]]] = {
    head.conventions.head: head
    for head in (
        YuNet,
        CenterFace,
        SCRFD,
        RetinaFace,
        RFB,
        YOLOX,
        DecodedYOLOX,
        NanoDet,
        YOLOv5,
        YOLOv8,
        EndToEnd,
        RTDETR,
        ChosenRTDETR,
        ScaledRTDETR,
    )
}
"""Every head by the name that ``--head`` calls it."""

ON_REQUEST: Final = frozenset({"yolox-decoded", "rtdetr-chosen"})
"""Heads that are never recognised: their outputs look like another's, which is far more common."""

ALIKE: Final = frozenset({"yolo-nms"})
"""Heads whose outputs may be another's, which the model's metadata tells: see ``told_apart``."""


def head_named(name: str) -> type[Head]:
    """Return the head called ``name``.

    Raises:
        ConfigError: there is none.
    """
    if name not in HEADS:
        raise ConfigError(f"There is no head '{name}'.{did_you_mean(name, HEADS)} Known: {', '.join(HEADS)}.")
    return HEADS[name]


def fitting(outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> list[str]:
    """Return the names of all heads, save those on request, that could read these outputs of an input of this size."""
    known = (name for name in HEADS if name not in ON_REQUEST)
    return [name for name in known if HEADS[name].bind(outputs, input_hw) is not None]


def recognise(outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> str | None:
    """Return the name of the one head that reads these outputs, or None where none does, or more than one."""
    names = fitting(outputs, input_hw)
    return names[0] if len(names) == 1 else None


def told_apart(name: str, metadata: Mapping[str, str]) -> str:
    """Return the head that a recognised model really has, in the light of its metadata."""
    said = f"{metadata.get('head', '')} {metadata.get('description', '')}".lower().replace("-", "")
    return "rtdetr-chosen" if name == "yolo-nms" and "rtdetr" in said else name


def conventions(head: str, name: str) -> ModelSpec:
    """Return the conventions of a head for a model called ``name``, of which nothing else is known.

    Raises:
        ConfigError: there is no such head.
    """
    return msgspec.structs.replace(head_named(head).conventions, name=name)
