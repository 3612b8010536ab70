"""ONNX to ``.mlpackage``, by way of torch, on any system.

coremltools no longer reads ONNX, so onnx2torch turns the graph into a torch module first. That module is compared with
ONNX Runtime on pictures before anything is saved, and the package's specification is read back before it is moved to
its place. What cannot be checked off macOS is Core ML itself: the parity gate of a run does that.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamtrack.errors import BackendError, ConfigError, ModelLoadError
from streamtrack.models.spec import ModelSpec
from streamtrack_coreml import graph as onnx_graph
from streamtrack_coreml import package, parity
from streamtrack_coreml.graph import Graph
from streamtrack_coreml.package import Notes, Output, Precision, Size, one_line

Say = Callable[[str], None]
Batch = NDArray[np.float32]
Answers = list[dict[str, NDArray[Any]]]

_INSTALL: Final = "pip install 'streamtrack[export]'"


class Tools(NamedTuple):
    """The modules that convert."""

    torch: Any
    onnx2torch: Any
    coremltools: Any


class Traced(NamedTuple):
    """A model as torch has it."""

    module: Any
    script: Any
    """The module as a TorchScript graph, which is what is converted."""


def export(
    model: Path,
    spec: ModelSpec,
    out: Path | None,
    *,
    sizes: Sequence[Size],
    precision: Precision,
    licence: str,
    say: Say,
) -> Path:
    """Convert an ONNX file and return the package's path.

    Args:
        model: the ONNX file.
        spec: the conventions of its input and head, which are noted in the package.
        out: what to write, a path that ends in ``.mlpackage``; None for a name that tells what is in it, beside
            ``model``, where ``CoreMLBackend.load`` finds it.
        sizes: (height, width) px that the package shall take, the first by default. Several become enumerated shapes,
            which the Neural Engine takes too. Empty: the stored size, or the spec's where that is free.
        precision: what Core ML computes in; inputs and outputs are fp32 in any case.
        licence: SPDX identifier, empty where it is not known.
        say: told in one line of each step and of the error of each output.

    Raises:
        BackendError: the packages that convert are missing.
        ConfigError: a size that the model cannot take, or a name that is no package's.
        ModelLoadError: the model is damaged, holds what cannot be converted, or gives other answers once it is.
    """
    tools = load_tools()
    graph = onnx_graph.load(model)
    sizes = _sizes(sizes, graph, spec)
    sha256 = package.digest(model)
    target = out or model.parent / package.file_name(model, sha256, sizes, precision)
    if target.suffix != package.SUFFIX:
        raise ConfigError(f"A Core ML package ends in {package.SUFFIX}, and {target} does not.")
    with _quiet():
        traced = _trace(tools, graph, sizes[0], model)
        differences, answers = _compare(tools, traced, graph, spec, sizes)
    for each in differences:
        say(f"torch against ONNX Runtime: {each}{'' if each.agrees else ': TOO FAR'}")
    if far := [each.name for each in differences if not each.agrees]:
        raise ModelLoadError(f"{model} as torch has it gives other answers in {', '.join(far)}: nothing was saved.")
    if precision == "fp16":
        _try_half(tools, traced, graph, spec, min(sizes), say)
    notes = Notes(
        sha256=sha256,
        precision=precision,
        outputs=_outputs(graph, answers),
        spec=msgspec.json.decode(msgspec.json.encode(spec)),
        licence=licence,
        properties=graph.properties,
        errors={each.name: each.error for each in differences},
    )
    with _quiet():
        converted = _convert(tools, traced, graph, sizes, notes, answers[0])
    _save(converted, target, sizes, notes, spec, tools)
    return target


def load_tools() -> Tools:
    """Return what converts.

    Raises:
        BackendError: a package is missing, or does not go with the others.
    """
    with _quiet():
        try:
            with _without_torchvision():
                return Tools(*(importlib.import_module(name) for name in Tools._fields))
        except Exception as error:
            raise BackendError(
                f"An export needs torch, onnx2torch and coremltools, and cannot import them ({one_line(error)}): "
                f"{_INSTALL}."
            ) from error


@contextlib.contextmanager
def _without_torchvision() -> Iterator[None]:
    """Let onnx2torch be imported where torchvision cannot be.

    It imports torchvision for two operators that hardly a detector holds. Beside a torch for the CPU alone, indexes
    that have only torchvision for CUDA give one that raises RuntimeError.
    """
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        reason = one_line(error)
    else:
        yield
        return

    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(
            f"NonMaxSuppression and RoiAlign need torchvision, which cannot be imported: {reason}"
        )

    absent, operators = ModuleType("torchvision"), ModuleType("torchvision.ops")
    for name in ("box_convert", "nms", "roi_align"):
        setattr(operators, name, refuse)
    absent.ops = operators  # type: ignore[attr-defined]
    sys.modules.update({"torchvision": absent, "torchvision.ops": operators})
    try:
        yield
    finally:
        for name in ("torchvision", "torchvision.ops"):
            sys.modules.pop(name, None)


def _sizes(asked: Sequence[Size], graph: Graph, spec: ModelSpec) -> list[Size]:
    stored = None if spec.dynamic_size else graph.stored_size
    sizes = list(dict.fromkeys(asked)) or [stored or spec.input_size]
    for height, width in sizes:
        fits = min(height, width) > 0 and not (height % spec.size_multiple or width % spec.size_multiple)
        if not fits and (height, width) != stored:
            raise ConfigError(f"Size {width}x{height}: {spec.name} takes multiples of {spec.size_multiple} px.")
    return sizes


def _trace(tools: Tools, graph: Graph, size: Size, model: Path) -> Traced:
    torch = tools.torch
    try:
        module = tools.onnx2torch.convert(onnx_graph.modern(onnx_graph.fixed(graph, size))).eval()
        with torch.no_grad():
            script = torch.jit.trace(module, torch.zeros(1, 3, *size), check_trace=False)
    except Exception as error:  # an operator that it does not know is a NotImplementedError, the rest is anything
        raise ModelLoadError(f"{model} cannot be turned into a torch module: {one_line(error)}.") from error
    return Traced(module, script)


def _compare(
    tools: Tools, traced: Traced, graph: Graph, spec: ModelSpec, sizes: Sequence[Size]
) -> tuple[list[parity.Difference], Answers]:
    """Return the largest difference of each output over all sizes, and one answer of each size."""
    differences, answers = [], []
    for size in sizes:
        batches = parity.pictures(size, spec)
        wanted = onnx_graph.answers(graph, size, batches)
        found = _answers(tools, traced.script, graph, batches)
        for want, have in zip(wanted, found, strict=True):
            differences += parity.compare(want, have)
        answers.append(wanted[0])
    return parity.worst(differences), answers


def _answers(tools: Tools, module: Any, graph: Graph, batches: Sequence[Batch], *, half: bool = False) -> Answers:
    torch = tools.torch
    found = []
    try:
        with torch.no_grad():
            for batch in batches:
                tensor = torch.from_numpy(batch)
                answer = module(tensor.half() if half else tensor)
                tensors = answer if isinstance(answer, list | tuple) else [answer]
                arrays = [each.float() if each.is_floating_point() else each for each in tensors]
                found.append(dict(zip(graph.outputs, (each.numpy() for each in arrays), strict=True)))
    except Exception as error:  # torch raises RuntimeError, and ValueError and IndexError from inside a module
        height, width = batches[0].shape[2:]
        raise ModelLoadError(f"The torch module cannot be run at {width}x{height}: {one_line(error)}.") from error
    return found


def _try_half(tools: Tools, traced: Traced, graph: Graph, spec: ModelSpec, size: Size, say: Say) -> None:
    """Run in fp16 on this CPU: what overflows here overflows on the Neural Engine too, and errs about as far."""
    batches = parity.pictures(size, spec)[:1]
    (wanted,) = onnx_graph.answers(graph, size, batches)
    try:
        with _quiet():
            # A copy: half() rounds the weights in place, and the script that is converted shares them.
            (found,) = _answers(tools, copy.deepcopy(traced.module).half(), graph, batches, half=True)
    except ModelLoadError as error:
        say(f"fp16 cannot be tried here: {error}")
        return
    for each in parity.compare(wanted, found):
        say(f"fp16 against fp32, on this CPU: {each}")
        if not np.isfinite(each.error):
            raise ModelLoadError(f"In fp16 output {each.name} overflows: export it with --precision fp32.")


def _outputs(graph: Graph, answers: Answers) -> tuple[Output, ...]:
    """Return the outputs as the package will have them; what differs between ``answers``, one of each size, is free."""
    outputs = []
    for name, feature in zip(graph.outputs, onnx_graph.features(graph.outputs, "output"), strict=True):
        sides = zip(*(answer[name].shape for answer in answers), strict=True)
        outputs.append(Output(name, feature, tuple(each[0] if len(set(each)) == 1 else None for each in sides)))
    return tuple(outputs)


def _convert(
    tools: Tools,
    traced: Traced,
    graph: Graph,
    sizes: Sequence[Size],
    notes: Notes,
    answer: Mapping[str, NDArray[Any]],
) -> Any:
    ct = tools.coremltools
    shapes = [(1, 3, *size) for size in sizes]
    shape = shapes[0] if len(shapes) == 1 else ct.EnumeratedShapes(shapes, default=shapes[0])
    (feature,) = onnx_graph.features([graph.input], "input")
    try:
        return ct.convert(
            traced.script,
            convert_to="mlprogram",
            inputs=[ct.TensorType(name=feature, shape=shape, dtype=np.float32)],
            outputs=[
                ct.TensorType(name=each.feature, dtype=np.float32 if answer[each.name].dtype.kind == "f" else np.int32)
                for each in notes.outputs
            ],
            compute_precision=ct.precision.FLOAT16 if notes.precision == "fp16" else ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.macOS13,
            skip_model_load=True,
        )
    except Exception as error:  # what coremltools does not know is a NotImplementedError, the rest is anything
        raise ModelLoadError(f"coremltools cannot convert the model: {one_line(error)}.") from error


def _save(converted: Any, target: Path, sizes: Sequence[Size], notes: Notes, spec: ModelSpec, tools: Tools) -> None:
    converted.user_defined_metadata[package.NOTES_KEY] = msgspec.json.encode(notes).decode()
    converted.short_description = f"{spec.name}, exported by streamtrack from ONNX {notes.sha256}"
    converted.license = notes.licence
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # In the target's own folder, so that the rename cannot cross file systems.
        with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as work:
            part = Path(work) / f"new{package.SUFFIX}"
            converted.save(str(part))
            _inspect(part, sizes, notes, tools.coremltools)
            if target.exists():
                os.rename(target, Path(work) / "old")
            os.rename(part, target)
    except OSError as error:
        raise ModelLoadError(f"{target} cannot be written: {error.strerror or error}; give another --out.") from error


def _inspect(path: Path, sizes: Sequence[Size], notes: Notes, runtime: Any) -> None:
    """Read back what was saved: names, sizes and notes must be those that a session will rely on."""
    found = package.read(path, runtime)
    stored = {feature.name for feature in runtime.utils.load_spec(str(path)).description.output}
    takes = [shape[2:] for shape in found.shapes]
    if stored != {output.feature for output in notes.outputs} or takes != list(sizes) or found.notes != notes:
        raise ModelLoadError(
            f"coremltools saved another model than it was given: outputs {', '.join(sorted(stored))}, sizes {takes}."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars, deprecations and warnings of the converters to themselves: what matters is checked."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
