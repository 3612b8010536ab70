"""Static int8 for a model: per-channel weights, activations calibrated on real inputs, QDQ format.

Operations that compute an output's last values stay in float32: boxes, sizes and scores have more than 256 steps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from streamtrack.errors import BackendError, ModelLoadError
from streamtrack.types import Float32Array
from streamtrack_onnx.session import first_line

_PER_CHANNEL_OPSET: Final = 13
"""The first whose QuantizeLinear takes a scale for each channel."""
_FATAL_ONLY: Final = 4
_WEIGHTED: Final = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))


def quantize(model: bytes, out: Path, batches: Iterable[Float32Array], say: Callable[[str], None]) -> None:
    """Write ``model`` in int8 to ``out``: the whole of it, or nothing.

    Args:
        model: an ONNX file's content, with one input.
        out: path of the new file.
        batches: inputs as the model will get them, float32 (batch, 3, height, width); taken one by one.
        say: told in one line what it is about to do.

    Raises:
        ModelLoadError: the model cannot be quantized.
    """
    # Told on standard error of each weight that folding leaves without use; what goes wrong is raised.
    ort.set_default_logger_severity(_FATAL_ONLY)
    proto = _named(_upgraded(onnx.load_from_string(model)))
    excluded = _last_computed(proto)
    if len(excluded) == len(proto.graph.node):
        raise ModelLoadError(f"{out.name} would be no other than its model: no more than one layer of it has weights.")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        stored, prepared, finished = (Path(folder) / f"{stage}.onnx" for stage in ("stored", "prepared", "finished"))
        onnx.save(proto, str(stored))
        (picture,) = proto.graph.input
        rows = picture.type.tensor_type.shape.dim[0].dim_value or 1
        try:
            say("folding constants")
            quant_pre_process(str(stored), str(prepared), skip_symbolic_shape=True)
            say("calibrating")
            quantize_static(
                str(prepared),
                str(finished),
                _Reader(picture.name, rows, batches),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,  # as fast as signed or faster, and after a Relu one bit finer
                weight_type=QuantType.QInt8,
                nodes_to_exclude=excluded,
            )
        except (BackendError, OSError):
            raise  # of the source or the model that makes the batches
        except Exception as error:  # neither the runtime nor its tools have errors of their own
            raise ModelLoadError(f"{out.name} cannot be made, the model resists int8: {first_line(error)}.") from error
        finished.replace(out)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands batches to the calibration."""

    def __init__(self, name: str, rows: int, batches: Iterable[Float32Array]) -> None:
        self._name, self._rows = name, rows
        self._batches: Iterator[Float32Array] = iter(batches)

    def get_next(self) -> dict[str, Float32Array] | None:
        """Return the next feed, or None."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        return {self._name: batch if len(batch) == self._rows else batch[:1].repeat(self._rows, axis=0)}


def _upgraded(proto: onnx.ModelProto) -> onnx.ModelProto:
    version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if version >= _PER_CHANNEL_OPSET:
        return proto
    try:
        upgraded = onnx.version_converter.convert_version(proto, _PER_CHANNEL_OPSET)
    except Exception as error:  # the converter raises RuntimeError and its own of several kinds
        raise ModelLoadError(
            f"The model is of ONNX opset {version} and cannot be brought to {_PER_CHANNEL_OPSET}, which int8 needs: "
            f"{first_line(error)}."
        ) from error
    upgraded.ir_version = max(upgraded.ir_version, 7)  # the format that came with opset 12
    return upgraded


def _named(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Name every node: those to leave out are told by name, and exporters need not give any."""
    taken = {node.name for node in proto.graph.node}
    for number, node in enumerate(proto.graph.node):
        if not node.name:
            name = f"{node.op_type}_{number}"
            node.name = name if name not in taken else f"{name}_unnamed"
    return proto


def _last_computed(proto: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes between the last weights and the outputs, those with the weights included."""
    producers = {output: node for node in proto.graph.node for output in node.output}
    waiting, found = [value.name for value in proto.graph.output], set()
    while waiting:
        node = producers.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            if node.op_type not in _WEIGHTED:
                waiting.extend(node.input)
    return sorted(found)
