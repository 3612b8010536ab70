"""Embedder: a session that maps crops to vectors, from boxes in frames to unit vectors that can be compared.

Two vectors of the same model are compared by their dot product, the cosine of the angle between them. What cannot be
compared, because nothing of it is in the picture or the model's answer is no vector, is a row of zeros: its cosine with
anything is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamtrack.api import Backend, BackendOptions, Session
from streamtrack.errors import ConfigError, InferenceError, ModelLoadError, did_you_mean
from streamtrack.models.alignment import FACE_POINTS, Similarity, box_place, face_place
from streamtrack.models.heads import recognise
from streamtrack.models.spec import ModelSpec
from streamtrack.types import Float32Array, Frame, UInt8Array

Item = tuple[Frame, NDArray[Any], NDArray[Any] | None]
"""What to embed: the frame, the box (x0 y0 x1 y1 px) and the keypoints (K, 2), None where there are none."""


class Prepared(NamedTuple):
    """An item as the model will see it: what can wait for its turn without its frame."""

    picture: Float32Array  # (3, height, width) of the model's input, mean and scale applied
    aligned: bool
    """Brought upright by its keypoints."""


AUTO: Final = "auto"
"""As ``ModelSpec.head``: the model's input and outputs shall tell."""

EMBEDDINGS: Final[dict[str, ModelSpec]] = {
    spec.head: spec
    for spec in (
        # As OpenCV's FaceRecognizerSF feeds it; so are all face models exported from MXNet, which normalise inside.
        ModelSpec(name="sface", head="sface", input_size=(112, 112), keypoints=5),
        # As InsightFace feeds its models.
        ModelSpec(name="arcface", head="arcface", input_size=(112, 112), mean=127.5, scale=1 / 127.5, keypoints=5),
        # ImageNet's mean and deviation, as the re-identification of persons has it (torchreid, Youtu ReID).
        ModelSpec(
            name="reid",
            head="reid",
            input_size=(256, 128),
            mean=(123.675, 116.28, 103.53),
            scale=(1 / 58.395, 1 / 57.12, 1 / 57.375),
            classes=("person",),
        ),
    )
}
"""What families of models expect of their input, by the name of ``ModelSpec.head``. ``keypoints`` is how many the
model's pictures are aligned by: 5 for faces, 0 for crops around a box. ``input_size`` counts where the model's is
free."""

BOX_PAD: Final = 0.02
"""A box grown by this share on each side is as large as the aligned picture of the same face (median over YuNet's
boxes of real faces; half of them between 1.01 and 1.05 of the box's longer side)."""

ACCELERATED_BATCH: Final = 8
"""Crops in one call unless somebody says otherwise, where the device is not the CPU. The CPU gains nothing from it."""

_UPRIGHT_RATIO = 1.5
"""An input at least this much higher than wide is for persons."""


@dataclass(slots=True)
class EmbedderStats:
    """What an embedder did so far, in wall seconds; written by its own thread, read by others."""

    items: int = 0
    aligned: int = 0
    """Brought upright by their keypoints (part of ``items``)."""
    unseen: int = 0
    """Nothing of the box is in the frame: a row of zeros (part of ``items``)."""
    unusable: int = 0
    """The model's answer was zero or not finite: a row of zeros (part of ``items``)."""
    batches: int = 0
    preprocess_s: float = 0.0
    inference_s: float = 0.0


def conventions(head: str, name: str) -> ModelSpec:
    """Return the conventions of a family of embedders for a model called ``name``.

    Raises:
        ConfigError: there is no such family.
    """
    if head not in EMBEDDINGS:
        raise ConfigError(
            f"There is no kind of embedder '{head}'.{did_you_mean(head, EMBEDDINGS)} Known: {', '.join(EMBEDDINGS)}."
        )
    return msgspec.structs.replace(EMBEDDINGS[head], name=name)


def default_batch(device: str) -> int:
    """Return how many crops one call takes on ``device`` unless somebody says otherwise."""
    return 1 if device == "cpu" else ACCELERATED_BATCH


def load_embedder(
    model: Path, spec: ModelSpec, backend: Backend, options: BackendOptions, batch_size: int | None = None
) -> Embedder:
    """Load a model and return its embedder. To be called on the thread that will use it.

    With ``spec.head == "auto"`` its input and outputs tell how it wants to be fed: upright inputs are for persons,
    models with an output ``fc1`` (from MXNet) normalise inside, all others are fed as InsightFace's are.

    Args:
        model: the file.
        spec: its conventions.
        backend: what runs it.
        options: for the backend; ``batch`` is replaced. An ``input_size`` is the embedder's, not the detector's.
        batch_size: crops in one call; None for 1 on the CPU and 8 elsewhere.

    Raises:
        ModelLoadError: the model is corrupt, or does not map pictures to vectors.
        BackendError: the device that was asked for is not there.
    """
    wanted = default_batch(options.device) if batch_size is None else batch_size
    try:
        session = backend.load(model, spec, msgspec.structs.replace(options, batch=wanted))
    except ModelLoadError as error:
        # A detector in its place fails in ways that say nothing of faces.
        raise ModelLoadError(f"{spec.name} cannot be loaded as an embedder: {error}") from error
    try:
        if spec.head == AUTO:
            spec = conventions(_recognised(session), spec.name)
        return Embedder(spec, session, batch_size)
    except BaseException:
        session.close()
        raise


class Embedder:
    """Embeds what is in boxes of frames of any size; created, used and closed on one thread."""

    def __init__(self, spec: ModelSpec, session: Session, batch_size: int | None = None) -> None:
        """Read the sizes of the input and of the vector from the session; where it cannot say, run it once.

        Args:
            spec: the conventions of the input; its head is not read.
            session: the loaded model.
            batch_size: crops in one call; None for 1 on the CPU and 8 elsewhere. Fewer where the session takes fewer,
                and as many as it always takes where that is fixed.

        Raises:
            ModelLoadError: the model does not map pictures to vectors.
        """
        from streamtrack.models.warping import Warper  # numba: only where something is embedded

        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"embed_batch_size must be at least 1, got {batch_size}.")
        self.spec = spec
        self.stats = EmbedderStats()
        self.device = session.device
        self.input_hw = _input_size(spec, session.input_shape)
        fixed = session.input_shape[0] is not None
        self.batch_size = (
            session.max_batch if fixed else min(batch_size or default_batch(self.device), session.max_batch)
        )
        self._session = session
        self._output, self.dimension = _vector_output(spec, session, self.input_hw)
        self._warper = Warper(spec)
        self._input = np.zeros((self.batch_size, 3, *self.input_hw), np.float32)

    def embed(self, items: Sequence[Item]) -> Float32Array:
        """Return the vector of each item, (N, D) float32 of length 1, in their order.

        A face is brought upright where its five keypoints are known and the model's pictures are aligned by them;
        anything else is cropped around its box, a little larger and with its aspect kept. Items may be of different
        frames. Rows are zeros where nothing of the box is in the frame or the model's answer is no vector.

        Raises:
            InferenceError: the model failed to run.
        """
        vectors = np.zeros((len(items), self.dimension), np.float32)
        for start in range(0, len(items), self.batch_size):
            self._embed(items[start : start + self.batch_size], vectors[start : start + self.batch_size])
        return vectors

    def prepare(self, item: Item) -> Prepared | None:
        """Return what ``embed_prepared`` needs of an item, or None where nothing of its box is in the frame.

        Its frame, which may pin a decoder's memory, is needed no more.
        """
        started = perf_counter()
        picture = np.empty((3, *self.input_hw), np.float32)
        aligned = self._write(item, picture)
        self.stats.preprocess_s += perf_counter() - started
        if aligned is None:
            self.stats.items += 1
            self.stats.unseen += 1
            return None
        return Prepared(picture, aligned)

    def embed_prepared(self, prepared: Sequence[Prepared]) -> Float32Array:
        """Return the vector of each, as ``embed`` would have; what was prepared and is never embedded counts nowhere.

        Raises:
            InferenceError: the model failed to run.
        """
        vectors = np.zeros((len(prepared), self.dimension), np.float32)
        for start in range(0, len(prepared), self.batch_size):
            batch = prepared[start : start + self.batch_size]
            for row, each in enumerate(batch):
                self._input[row] = each.picture
            self.stats.items += len(batch)
            self.stats.aligned += sum(each.aligned for each in batch)
            vectors[start : start + len(batch)] = self._run(len(batch))
        return vectors

    def shown(self, prepared: Prepared) -> UInt8Array:
        """Return what the model sees as a picture for people, RGB (height, width, 3)."""
        mean, scale = (np.asarray(value, np.float32).reshape(-1, 1, 1) for value in (self.spec.mean, self.spec.scale))
        levels = np.clip(np.rint(prepared.picture / scale + mean), 0, 255).astype(np.uint8)
        return np.ascontiguousarray((levels[::-1] if self.spec.channels == "bgr" else levels).transpose(1, 2, 0))

    def close(self) -> None:
        """Release the session."""
        self._session.close()

    def _embed(self, items: Sequence[Item], vectors: Float32Array) -> None:
        started = perf_counter()
        rows: list[int] = []
        for row, item in enumerate(items):
            aligned = self._write(item, self._input[len(rows)])
            if aligned is not None:
                rows.append(row)
                self.stats.aligned += aligned
        self.stats.items += len(items)
        self.stats.unseen += len(items) - len(rows)
        self.stats.preprocess_s += perf_counter() - started
        if rows:
            vectors[rows] = self._run(len(rows))

    def _run(self, count: int) -> Float32Array:
        """Return the vectors of the first ``count`` pictures of the input."""
        started = perf_counter()
        found = self._session.run(self._input[:count])[self._output]
        if found.size != count * self.dimension:
            raise InferenceError(
                f"{self.spec.name} gave {found.shape} for {count} crops where vectors of {self.dimension} were "
                "expected."
            )
        vectors = unit(found.reshape(count, self.dimension))
        self.stats.unusable += count - int(vectors.any(axis=1).sum())
        self.stats.batches += 1
        self.stats.inference_s += perf_counter() - started
        return vectors

    def _write(self, item: Item, out: Float32Array) -> bool | None:
        """Write the crop of an item; return whether it was aligned, or None where nothing of it is in the frame."""
        frame, box, keypoints = item
        aligned = self._aligned(keypoints)
        if aligned is not None and self._warper.write(frame, aligned, out):
            return True
        x0, y0, x1, y1 = (float(v) for v in box)
        # What is not a number compares as False.
        if not (max(x0, 0.0) < min(x1, frame.width) and max(y0, 0.0) < min(y1, frame.height)):
            return None
        return False if self._warper.write(frame, box_place(box, *self.input_hw, BOX_PAD), out) else None

    def _aligned(self, keypoints: NDArray[Any] | None) -> Similarity | None:
        points = len(FACE_POINTS)
        if keypoints is None or self.spec.keypoints != points or len(keypoints) != points:
            return None
        return face_place(keypoints, *self.input_hw)


def unit(vectors: NDArray[Any]) -> Float32Array:
    """Return (N, D) vectors scaled to length 1, float32; those without a direction or not finite become zeros."""
    wide = vectors.astype(np.float64)  # float32 squares may overflow or vanish
    lengths = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    usable = np.isfinite(lengths) & (lengths > 0)
    wide[~usable] = 0.0
    wide /= np.where(usable, lengths, 1.0)[:, None]
    return wide.astype(np.float32)


def _input_size(spec: ModelSpec, shape: tuple[int | None, ...]) -> tuple[int, int]:
    if len(shape) != 4 or shape[1] not in (3, None):
        raise ModelLoadError(
            f"{spec.name} takes {_shown(shape)} where pictures (batch, 3, height, width) are expected."
        )
    return shape[2] or spec.input_size[0], shape[3] or spec.input_size[1]


def _recognised(session: Session) -> str:
    if any(name == "fc1" for name, _ in session.outputs):
        return "sface"
    height, width = (*session.input_shape, None, None)[2:4]
    return "reid" if height and width and height >= _UPRIGHT_RATIO * width else "arcface"


def _vector_output(spec: ModelSpec, session: Session, input_hw: tuple[int, int]) -> tuple[str, int]:
    """Return the name of the one output that is a vector, and its dimension."""
    shapes: dict[str, tuple[int | None, ...]] = dict(session.outputs)
    if any(len(shape) < 2 or None in shape[1:] for shape in shapes.values()):
        try:
            tensors = session.run(np.zeros((1, 3, *input_hw), np.float32))
        except InferenceError as error:
            raise ModelLoadError(f"{spec.name} cannot take an input of {input_hw[1]}x{input_hw[0]}: {error}") from error
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
    vectors = {name: size for name, shape in shapes.items() if (size := _length(shape)) is not None}
    if len(vectors) != 1:
        listed = ", ".join(f"{name} {_shown(shape)}" for name, shape in shapes.items())
        wrong = "has no output that is" if not vectors else f"has {len(vectors)} outputs that may be"
        detector = recognise(tuple(shapes.items()))
        advice = (
            f"it looks like a {detector} detector, which is for --model"
            if detector
            else "export it with the embedding as its only output"
        )
        raise ModelLoadError(f"{spec.name} {wrong} a vector (batch, dimension): found {listed}; {advice}.")
    return next(iter(vectors.items()))


def _length(shape: tuple[int | None, ...]) -> int | None:
    """Return the dimension of the vectors in a tensor of this shape; None where it holds something else."""
    long = [size for size in shape[1:] if size is not None and size > 1]
    return long[0] if len(long) == 1 and len(shape) > 1 else None


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"
