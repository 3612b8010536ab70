"""What holds for every head: it reads its own family's outputs, no other's, and any number that a model may give."""

from __future__ import annotations

import numpy as np
import pytest
from headcases import EXPORTS, Tensors

from streamtrack.errors import InferenceError
from streamtrack.models.heads import HEADS, ON_REQUEST


@pytest.mark.parametrize("other", [name for name in HEADS if name not in ON_REQUEST])
@pytest.mark.parametrize(("name", "outputs", "input_hw"), EXPORTS)
def test_no_head_binds_the_outputs_of_another(
    name: str, outputs: tuple, input_hw: tuple[int | None, int | None], other: str
) -> None:
    assert (HEADS[other].bind(outputs, input_hw) is not None) == (other == name)


FIXED = [
    (name, outputs, input_hw)
    for name, outputs, input_hw in EXPORTS
    if all(None not in shape[-2:] for _, shape in outputs)
]


def filled(outputs: tuple, value: float, batch: int = 1) -> Tensors:
    return {
        name: np.full((batch, *shape[1:]) if len(shape) > 2 else shape, value, np.float32) for name, shape in outputs
    }


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -1.0, 1e9])
@pytest.mark.parametrize(("name", "outputs", "input_hw"), FIXED)
def test_nonsense_is_decoded_without_an_error(
    name: str, outputs: tuple, input_hw: tuple[int, int], value: float
) -> None:
    head = HEADS[name].bind(outputs, input_hw)
    assert head is not None
    with np.errstate(over="ignore", invalid="ignore"):
        (found,) = head.decode(filled(outputs, value), input_hw if None not in input_hw else (640, 640), 0.5)
    assert found.boxes.shape == (len(found.scores), 4)
    assert found.keypoints.shape == (len(found.scores), head.keypoints, 2)
    if value == 0.0 and name != "rtdetr":  # of which 0 is a logit
        assert len(found.scores) == 0


@pytest.mark.parametrize(
    ("name", "outputs", "input_hw"), [each for each in FIXED if all(len(shape) > 2 for _, shape in each[1])]
)
def test_a_batch_of_nothing_is_as_long_as_it_was(name: str, outputs: tuple, input_hw: tuple[int, int]) -> None:
    head = HEADS[name].bind(outputs, input_hw)
    assert head is not None
    found = head.decode(filled(outputs, 0.0, batch=3), input_hw if None not in input_hw else (640, 640), 0.9)
    assert [len(each.scores) for each in found] == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "outputs", "input_hw"),
    [each for each in FIXED if each[0] in ("yunet", "scrfd", "retinaface", "yolox", "nanodet")],
)
def test_tensors_of_another_input_are_an_error(name: str, outputs: tuple, input_hw: tuple[int, int]) -> None:
    head = HEADS[name].bind(outputs, input_hw)
    assert head is not None
    with pytest.raises(InferenceError, match="cells where an input of 224x160 gives"):
        head.decode(filled(outputs, 0.5), (160, 224), 0.5)
