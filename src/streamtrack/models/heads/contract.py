"""What a head is: the contract, and the names it speaks of."""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple, Protocol

from streamtrack.api import Tensors
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array, Int32Array

Outputs = tuple[tuple[str, tuple[int | None, ...]], ...]
"""Name and shape of each output, as in ``Session.outputs``."""

InputSize = tuple[int | None, int | None]
"""(height, width) of a model's input in px, None where a side is free."""

ANY_SIZE: Final[InputSize] = (None, None)


class Candidates(NamedTuple):
    """The N boxes of one image whose score reaches the threshold, in no particular order."""

    boxes: Float32Array  # (N, 4) x0 y0 x1 y1 px of the model's input
    scores: Float32Array  # (N,)
    classes: Int32Array  # (N,)
    keypoints: Float32Array  # (N, K, 2) x y px of the model's input


class Head(Protocol):
    """Decodes the outputs of one family of models."""

    conventions: ClassVar[ModelSpec]
    """What holds for a model of this family of which nothing else is known."""
    expects: ClassVar[str]
    """In words, the outputs it reads."""
    classes: int | None
    """How many classes its model tells apart; None where the outputs do not say."""
    keypoints: int
    """How many keypoints each candidate has."""

    @classmethod
    def bind(cls, outputs: Outputs, input_hw: InputSize = ANY_SIZE) -> Head | None:
        """Return a head that reads these outputs of an input of this size, or None where they are not of this family.

        What is free may be anything: several heads may read outputs of which little is known.
        """
        ...

    def decode(self, tensors: Tensors, input_hw: tuple[int, int], threshold: float) -> list[Candidates]:
        """Return the candidates of each image of a batch.

        Args:
            tensors: outputs by name, each with the batch as first dimension.
            input_hw: (height, width) of the input they came from, in px.
            threshold: lowest score kept.

        Raises:
            InferenceError: the tensors do not belong to an input of this size.
        """
        ...
