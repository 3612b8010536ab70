"""Whether two versions of a model agree: pictures to ask both, and what counts as the same answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamtrack.models.spec import ModelSpec

TOLERANCE: Final = 1e-4
"""Largest error allowed of an output, as a share of its largest value, or of 1 where that is less. The order of
summation alone makes about 1e-5."""


class Difference(NamedTuple):
    """How far one output is from its reference."""

    name: str
    error: float
    """Largest absolute error; infinite where it is not even finite, or of another shape."""
    largest: float
    """Largest magnitude of the reference."""

    @property
    def agrees(self) -> bool:
        """Whether the error is within ``TOLERANCE``."""
        return self.error <= TOLERANCE * max(self.largest, 1.0)

    def __str__(self) -> str:
        return f"{self.name} {self.error:.1e} of values up to {self.largest:.3g}"


def pictures(size: tuple[int, int], spec: ModelSpec) -> list[NDArray[np.float32]]:
    """Return inputs (1, 3, height, width) such as the model is given: one like a photograph, a dark one, and noise.

    Photographs have a spectrum that falls with frequency; networks answer to it otherwise than to white noise.
    """
    height, width = size
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    phases = np.exp(2j * np.pi * random.random((3, *frequency.shape)))
    waves = np.fft.irfft2(phases / np.maximum(frequency, 1 / max(size)), s=size)
    photograph = np.clip(128 + 60 * waves / waves.std(), 0, 255)
    drawn = (photograph, photograph / 12, random.uniform(0, 255, photograph.shape))
    return [((np.rint(each) - spec.mean) * spec.scale).astype(np.float32)[None] for each in drawn]


def compare(reference: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]) -> list[Difference]:
    """Return the difference of each output of ``reference``, in its order."""
    return [Difference(name, _error(want, found[name]), _magnitude(want)) for name, want in reference.items()]


def worst(differences: list[Difference]) -> list[Difference]:
    """Return the largest difference of each output, in the order of their first appearance."""
    by_name: dict[str, Difference] = {}
    for each in differences:
        if each.name not in by_name or each.error > by_name[each.name].error:
            by_name[each.name] = each
    return list(by_name.values())


def _error(want: NDArray[Any], found: NDArray[Any]) -> float:
    if want.shape != found.shape:
        return float("inf")
    if not want.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        error = float(np.abs(want.astype(np.float64) - found.astype(np.float64)).max())
    return error if np.isfinite(error) else float("inf")


def _magnitude(values: NDArray[Any]) -> float:
    return float(np.abs(values.astype(np.float64)).max()) if values.size else 0.0
