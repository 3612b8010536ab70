"""What a ``.mlpackage`` says of itself, how one is called, and where one exported from an ONNX file is found."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from streamtrack.errors import ModelLoadError
from streamtrack.models.spec import ModelSpec

Size = tuple[int, int]
"""(height, width) in px."""
Shape = tuple[int | None, ...]
Precision = Literal["fp16", "fp32"]

SUFFIX: Final = ".mlpackage"
NOTES_KEY: Final = "streamtrack"
"""Of the package's own metadata, where the notes are, as JSON."""
_FLOAT_TYPES: Final = (65568, 65552)
"""``ArrayFeatureType.ArrayDataType`` of Core ML's model format: FLOAT32 and FLOAT16."""
_HASH_DIGITS: Final = 16
_LONGEST: Final = 300


class Output(msgspec.Struct, frozen=True):
    """One output of an exported model."""

    name: str
    """In the model that it was exported from: heads recognise a model by it."""
    feature: str
    """In the package, which allows letters, digits and underscores alone."""
    shape: tuple[int | None, ...]
    """None where it differs between the sizes of the input."""


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What an export writes into the package besides the model."""

    sha256: str
    """Of the ONNX file that it was exported from."""
    precision: Precision
    outputs: tuple[Output, ...]
    """In the order of the model that it was exported from."""
    spec: dict[str, Any]
    """The conventions of the input and the head: ``ModelSpec`` as plain values."""
    licence: str = ""
    """SPDX identifier, empty where it is not known."""
    properties: dict[str, str] = {}
    """What the ONNX file said of itself, e.g. its classes."""
    errors: dict[str, float] = {}
    """Largest difference from ONNX Runtime of each output, in fp32, as measured at export."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package as its specification describes it."""

    path: Path
    feature: str
    """Name of its one input."""
    shapes: tuple[Shape, ...]
    """The shapes that the input may have, the default first; one with None where a range of sizes is allowed."""
    outputs: tuple[Output, ...]
    notes: Notes | None
    """None of a package that something else made."""

    def shape_for(self, size: Size | None) -> Shape:
        """Return the input's shape for a picture of ``size``, None for the default one.

        Raises:
            ModelLoadError: the package cannot take this size.
        """
        if size is None:
            return self.shapes[0]
        for shape in self.shapes:
            if all(have in (None, want) for have, want in zip(shape[2:], size, strict=True)):
                return (*shape[:2], *size)
        known = ", ".join(_wxh(shape[2:]) for shape in self.shapes)
        raise ModelLoadError(
            f"Model {self.path} takes pictures of {known}, not {_wxh(size)}: ask for one of these, or export it anew "
            f"with --size {_wxh(size)}."
        )

    def conventions(self) -> ModelSpec | None:
        """Return what the package says of its input and head; None where it says nothing this version understands."""
        if self.notes is None:
            return None
        try:
            return msgspec.convert(self.notes.spec, ModelSpec)
        except msgspec.ValidationError:
            return None


def read(path: Path, runtime: Any) -> Package:
    """Return what the package at ``path`` says of itself.

    Args:
        path: a ``.mlpackage`` folder.
        runtime: the module ``coremltools``.

    Raises:
        ModelLoadError: it is missing, damaged, or not a model that maps one picture to tensors.
    """
    if not path.is_dir():
        raise ModelLoadError(f"There is no Core ML package {path} (a folder whose name ends in {SUFFIX}).")
    try:
        spec = runtime.utils.load_spec(str(path))
    except Exception as error:  # coremltools raises whatever its parts raise
        raise ModelLoadError(f"Model {path} cannot be read: {one_line(error)}.") from error
    if spec.WhichOneof("Type") != "mlProgram":
        raise ModelLoadError(f"Model {path} is no ML program (it holds {spec.WhichOneof('Type')}): export it anew.")
    description = spec.description
    notes = _notes(path, description.metadata.userDefined)
    feature, shapes = _input(path, description.input)
    return Package(path, feature, shapes, notes.outputs if notes else _outputs(description.output), notes)


def _notes(path: Path, metadata: Any) -> Notes | None:
    text = dict(metadata).get(NOTES_KEY)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Notes)
    except msgspec.DecodeError as error:
        raise ModelLoadError(
            f"Model {path} was exported by another version of streamtrack ({error}): export it anew."
        ) from error


def _input(path: Path, features: Sequence[Any]) -> tuple[str, tuple[Shape, ...]]:
    if len(features) != 1:
        names = ", ".join(feature.name for feature in features)
        raise ModelLoadError(f"Model {path} has {len(features)} inputs ({names}) where one picture is expected.")
    (feature,) = features
    kind = feature.type.WhichOneof("Type")
    array = feature.type.multiArrayType
    shapes = _shapes(array) if kind == "multiArrayType" else ()
    fits = [len(shape) == 4 and shape[1] == 3 for shape in shapes]
    if not fits or not all(fits) or array.dataType not in _FLOAT_TYPES:
        raise ModelLoadError(
            f"Model {path} takes {kind} {[list(shape) for shape in shapes]} where a float array "
            "(batch, 3, height, width) is expected."
        )
    return feature.name, shapes


def _shapes(array: Any) -> tuple[Shape, ...]:
    stored = tuple(int(side) for side in array.shape)
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "enumeratedShapes":
        listed = [tuple(int(side) for side in each.shape) for each in array.enumeratedShapes.shapes]
        return (stored, *(shape for shape in listed if shape != stored))
    if flexibility == "shapeRange":
        ranges = array.shapeRange.sizeRanges
        return (tuple(int(r.lowerBound) if r.lowerBound == r.upperBound else None for r in ranges),)
    return (stored,)


def _outputs(features: Iterable[Any]) -> tuple[Output, ...]:
    return tuple(Output(f.name, f.name, tuple(int(side) for side in f.type.multiArrayType.shape)) for f in features)


# --- names and places ---

_NAME = re.compile(rf"-(?P<hash>[0-9a-f]{{{_HASH_DIGITS}}})-(?P<sizes>\d+x\d+(?:\+\d+x\d+)*)-(?P<precision>fp16|fp32)$")


def file_name(model: Path, sha256: str, sizes: Sequence[Size], precision: Precision) -> str:
    """Return what the package exported from ``model`` is called, so that ``find`` finds it."""
    listed = "+".join(_wxh(size) for size in sizes)
    return f"{model.stem}-{sha256[:_HASH_DIGITS]}-{listed}-{precision}{SUFFIX}"


def find(sha256: str, folders: Iterable[Path], size: Size | None, precision: str) -> Path | None:
    """Return a package that was exported from the file of this hash, or None.

    Args:
        sha256: of the ONNX file.
        folders: where to look, in this order.
        size: that the package must take; None for whatever there is.
        precision: ``fp16``, ``fp32``, or ``auto`` for fp16 before fp32.
    """
    for folder in folders:
        found = []
        for path in sorted(folder.glob(f"*-{sha256[:_HASH_DIGITS]}-*{SUFFIX}")):
            match = _NAME.search(path.stem)
            if match is None or precision not in ("auto", match["precision"]):
                continue
            if size is None or _wxh(size) in match["sizes"].split("+"):
                found.append((match["precision"], path))
        if found:
            return min(found)[1]
    return None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all names and contents below a folder, in hexadecimal."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for file_path in sorted(each for each in path.rglob("*") if each.is_file()):
        whole.update(f"{file_path.relative_to(path).as_posix()}\0{digest(file_path)}\0".encode())
    return whole.hexdigest()


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line without a full stop; of a long one (torch prints tensors) its ends."""
    line = " ".join(str(error).split()).rstrip(". ") or type(error).__name__
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


def _wxh(size: Sequence[int | None]) -> str:
    height, width = ("any" if side is None else side for side in size)
    return f"{width}x{height}"
