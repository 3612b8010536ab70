"""What the classes of a model are called: as given, as its own metadata says, or as is usual."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from streamtrack.errors import ConfigError, ModelLoadError

COCO: Final = tuple(
    """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
    mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors,
    teddy bear, hair drier, toothbrush""".replace("\n    ", " ").split(", ")
)
"""The 80 classes of COCO (Lin et al., 2014) that detectors are trained on, in their usual order."""

_KEYS: Final = ("names", "id2label", "class_names", "classes", "labels")
"""Where exporters put names: Ultralytics the first, Hugging Face the second."""
_MOST: Final = 100_000


def class_names(
    metadata: Mapping[str, str], given: Sequence[str], count: int | None, usual: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the name of each class of a model.

    Args:
        metadata: of the model; see ``read_metadata``.
        given: what a person calls them; empty for nothing.
        count: how many classes the model's outputs have; None where they do not say.
        usual: what models of this family are mostly trained on. Used where nobody says otherwise and ``count`` agrees.

    Returns:
        ``count`` names, numbered ones (``class 3``) where nobody says; none where not even ``count`` is known.

    Raises:
        ConfigError: ``given`` are not as many as the model has.
        ModelLoadError: the metadata names fewer or more than the outputs have: they are laid out in another way.
    """
    if given:
        if count is not None and len(given) != count:
            raise ConfigError(f"--classes names {len(given)} classes, but the model has {count}.")
        return tuple(given)
    said = names_in(metadata)
    if said and count is not None and len(said) != count:
        raise ModelLoadError(
            f"The model's metadata names {len(said)} classes where its outputs seem to have {count}: it does more than "
            "give boxes (keypoints, masks, angles), or wants another --head; --classes overrules its metadata."
        )
    if said:
        return said
    if count is None or count == len(usual):
        return tuple(usual) if count is not None else ()
    return tuple(f"class {number}" for number in range(count))


def names_in(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the class names that a model's metadata gives; empty where it gives none that can be read.

    Read are a dict of numbers and names and a list of names, as Python or as JSON, and names between commas or lines.
    """
    texts = (metadata[key] for key in _KEYS if metadata.get(key, "").strip())
    return next((names for text in texts if (names := _names(text))), ())


def parse_classes(text: str) -> tuple[str, ...]:
    """Return the names that ``--classes`` means: a file with a name on each line, or names between commas.

    Raises:
        ConfigError: the file cannot be read, or there is no name.
    """
    path = Path(text).expanduser()
    try:
        if path.is_file():
            text = path.read_text(encoding="utf-8-sig")
        elif "," not in text and path.suffix:
            raise ConfigError(f"--classes: there is no file '{path}'.")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--classes: {path} cannot be read as text.") from error
    if not (names := _listed(text)):
        raise ConfigError("--classes names no class: give a file with a name on each line, or names between commas.")
    return names


def read_metadata(model: Path) -> dict[str, str]:
    """Return what an ONNX file says of itself besides its graph; nothing for a file of another format.

    Raises:
        ModelLoadError: it cannot be read.
    """
    if model.suffix.lower() != ".onnx":
        return {}
    import onnx

    try:
        read = onnx.load(str(model), load_external_data=False)
    except Exception as error:  # protobuf's errors are not onnx's to name
        raise ModelLoadError(f"Model {model} cannot be read as ONNX.") from error
    return {entry.key: entry.value for entry in read.metadata_props}


def _names(text: str) -> tuple[str, ...]:
    for parse in (ast.literal_eval, json.loads):
        try:
            return _from_value(parse(text))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return _listed(text) if text.strip()[0] not in "{[(" else ()


def _from_value(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        by_number = {int(number): str(name) for number, name in value.items()}
        if not by_number or min(by_number) < 0 or max(by_number) >= _MOST:
            return ()
        return tuple(by_number.get(number, f"class {number}") for number in range(max(by_number) + 1))
    if isinstance(value, list | tuple):
        return tuple(map(str, value))
    return _listed(str(value))


def _listed(text: str) -> tuple[str, ...]:
    separator = "\n" if "\n" in text.strip() else ","
    return tuple(name.strip() for name in text.split(separator) if name.strip())
