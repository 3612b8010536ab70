"""Why a file cannot be loaded, in words for whoever brought it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from streamtrack_onnx.session import first_line

_BEGINNING = 64
_NO_FILE: Final = re.compile(r"(?i)protobuf parsing failed|no graph was found in the protobuf")
# The runtime's words, and what they mean; groups of the first fill the second.
_MEANINGS: Final = (
    (
        re.compile(r"No Op registered for (?P<op>\S+) with domain_version of (?P<version>\d+)"),
        "it uses the operator '{op}' (opset {version}), which ONNX Runtime does not have",
    ),
    (
        re.compile(r"In Node, \(\S* *(?P<op>\w+), .*No opset import for domain '(?P<domain>[^']*)'"),
        "it uses the operator '{op}' of '{domain}', which is another runtime's: export it without",
    ),
    (
        re.compile(r"(?s)Opset (?P<version>\d+) is under development.*is till opset (?P<latest>\d+)"),
        "it is written in opset {version}, and this ONNX Runtime knows up to {latest}: update onnxruntime, or export "
        "it in an older one",
    ),
    (
        re.compile(r'External data path does not exist: "?(?P<path>[^"\n]+)"?'),
        "its weights lie in a file of their own, {path}, which is not there: put it beside the model",
    ),
)


def reason(model: Path, error: Exception) -> str:
    """Return why the runtime refuses ``model``, without a full stop.

    Args:
        model: path of the file, of which the first bytes are looked at where it is no ONNX at all.
        error: what the runtime raised.
    """
    line = first_line(error)
    if _NO_FILE.search(line):
        return _no_model(model)
    for pattern, meaning in _MEANINGS:
        if found := pattern.search(line):
            return meaning.format(**found.groupdict())
    return line


def _no_model(model: Path) -> str:
    try:
        size = model.stat().st_size
        with model.open("rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError as error:
        return error.strerror or "it cannot be read"
    if not size:
        return "the file is empty"
    if beginning.startswith(b"version https://git-lfs"):
        return "it is not the model but a pointer to it in large file storage: fetch it with 'git lfs pull'"
    if beginning.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page, as servers send one in place of a file"
    return f"it is damaged, cut off (it has {size} bytes) or no ONNX file"
