"""The ONNX backend against a bare ONNX Runtime loop, its CPU use at 5 fps, and the work around a model against numpy.

``python benchmarks/bench_onnx.py [MODEL ...] [--threads N] [--rounds N] [--seconds S] [--busy N]``. Models are paths;
without any, those of the zoo that lie in the cache, else a small one made up. The bare loop is a session with ONNX
Runtime's own defaults save for its threads, on the same graph; sessions take turns, with a pause in which threads that
spin go to sleep, and the figure is the median of the ratios of rounds. It is there three times: with threads that spin
for a moment while they wait, as ours do; as is ONNX Runtime's default, for some 50 ms; and with threads that never
spin. Before and after the model: what ``Detector`` takes, against the obvious numpy, on a picture of the input's size
that is RGB already and a model's output that is made up.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort

from streamtrack import config
from streamtrack.api import BackendOptions, Session, Tensors
from streamtrack.models.detector import Detector, load_detector
from streamtrack.models.heads import HEADS
from streamtrack.models.spec import ModelSpec
from streamtrack.models.zoo import ZOO
from streamtrack.params import DetectorParams
from streamtrack.testing.models import write_square_detector
from streamtrack.types import Frame
from streamtrack_onnx import OnnxBackend, graph
from streamtrack_onnx.backend import SPIN_US

SIDE = 640
SETTLE_S = 0.15
"""Threads that spin go on for some 50 ms after a call, on the core that the other session would need."""
WAITS = {
    "same": {"spin_duration_us": SPIN_US},
    "default": {},
    "sleeping": {"allow_spinning": "0"},
}
"""How the threads of a bare session wait: as ours do, as ONNX Runtime has it, and without ever spinning."""
STRIDES = (8, 16, 32)
AUTO = ModelSpec(name="bench", head="auto")
EVERY_SIZE = DetectorParams(min_size=0)
"""The numpy beside it leaves out no small box either."""


def median_ratio(ours: Callable[[], object], bare: Callable[[], object], rounds: int, calls: int) -> list[float]:
    """Return the median ms of a call of each, and the median over rounds of their ratio."""
    figures = []
    for number in range(rounds):
        medians = {}
        for which in (ours, bare) if number % 2 else (bare, ours):
            time.sleep(SETTLE_S)
            taken = []
            for _ in range(calls):
                started = time.perf_counter()
                which()
                taken.append(time.perf_counter() - started)
            medians[which] = 1e3 * statistics.median(taken[calls // 10 :])
        figures.append([medians[ours], medians[bare]])
    ratio = statistics.median(one / other for one, other in figures)
    return [*(statistics.median(column) for column in zip(*figures, strict=True)), ratio]


def bare_session(model: Path, shape: tuple[int | None, ...], threads: int, waits: str) -> ort.InferenceSession:
    """Return a session as ONNX Runtime makes it, with the input's shape that ours has, whose threads wait as told."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # models with unused weights warn of each, and how they run is the same
    for key, value in WAITS[waits].items():
        options.add_session_config_entry(f"session.intra_op.{key}", value)
    named = tuple(side or name for side, name in zip(shape, ("batch", 3, "height", "width"), strict=True))
    return ort.InferenceSession(graph.rewrite(model, named), options, providers=["CPUExecutionProvider"])


def cpu_share(run: Callable[[], object], fps: float, seconds: float) -> float:
    """Return the share of one core that the process takes to do ``run`` so often a second."""
    run()
    cpu, started = time.process_time(), time.perf_counter()
    for number in range(1, round(fps * seconds) + 1):
        run()
        time.sleep(max(0.0, started + number / fps - time.perf_counter()))
    return (time.process_time() - cpu) / (time.perf_counter() - started)


def measure_model(model: Path, threads: int, rounds: int, calls: int, seconds: float) -> dict[str, float]:
    """Return latencies in ms, their ratios, and shares of a core at 5 fps."""
    detector = load_detector(model, AUTO, OnnxBackend(), BackendOptions(threads=threads), DetectorParams())
    session = OnnxBackend().load(model, detector.spec, BackendOptions(threads=threads))
    height, width = detector.input_size(SIDE, SIDE * 3 // 4)
    picture = np.random.default_rng(0).uniform(0, 255, (1, 3, height, width)).astype(np.float32)
    name = session._session.get_inputs()[0].name

    def ours() -> Tensors:
        return session.run(picture)

    row = {}
    for kind in WAITS:
        bare = bare_session(model, session.input_shape, threads, kind)

        def theirs(bare: ort.InferenceSession = bare) -> object:
            return bare.run(None, {name: picture})

        ours(), theirs()
        row["ours"], row[kind], row[f"{kind} ratio"] = median_ratio(ours, theirs, rounds, calls)
        row[f"{kind} cpu"] = 100 * cpu_share(theirs, 5, seconds)
    return row | {"cpu": 100 * cpu_share(ours, 5, seconds)}


class Ready:
    """A picture that is RGB of the wanted size already, in planar memory as decoders' pictures give it."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0)

    def rgb(self, region: object, size: object, *, planar: bool) -> np.ndarray:
        """Return it, whatever is asked for."""
        return self._pixels


class Canned:
    """A session that always answers with the same tensors."""

    max_batch, device, input_shape = 1, "cpu", (1, 3, SIDE, SIDE)

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self.outputs = tuple((name, tensor.shape) for name, tensor in tensors.items())

    def run(self, batch: np.ndarray) -> Tensors:
        """Return them."""
        return self._tensors

    def close(self) -> None:
        """Hold nothing."""


def yunet_tensors(faces: int) -> dict[str, np.ndarray]:
    """Return what YuNet would say of so many faces, each seen by a few neighbouring cells."""
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {}
    for stride in STRIDES:
        cells = (SIDE // stride) ** 2
        score = rng.uniform(0, 0.05, (1, cells, 1)).astype(np.float32)
        centres = rng.integers(0, cells - 2, faces // len(STRIDES) + 1)
        score[0, centres], score[0, centres + 1] = 0.9, 0.8
        tensors |= {f"cls_{stride}": score, f"obj_{stride}": score}
        tensors[f"bbox_{stride}"] = rng.normal(0, 0.3, (1, cells, 4)).astype(np.float32)
        tensors[f"kps_{stride}"] = rng.normal(0, 0.3, (1, cells, 10)).astype(np.float32)
    return tensors


def numpy_input(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels[..., ::-1].astype(np.float32).transpose(2, 0, 1)[None])


def numpy_boxes(tensors: Tensors, confidence: float, overlap: float) -> np.ndarray:
    """Decode every cell, then threshold, then suppress one box after the other."""
    boxes, scores = [], []
    for stride in STRIDES:
        columns = SIDE // stride
        cell = np.arange(columns * columns)
        centre = np.stack((cell % columns, cell // columns), 1) + tensors[f"bbox_{stride}"][0, :, :2]
        size = np.exp(tensors[f"bbox_{stride}"][0, :, 2:])
        (tensors[f"kps_{stride}"][0].reshape(-1, 5, 2) + centre[:, None]) * stride
        boxes.append(np.concatenate((centre - size / 2, centre + size / 2), 1) * stride)
        scores.append(np.sqrt(tensors[f"cls_{stride}"] * tensors[f"obj_{stride}"])[0, :, 0])
    box, score = np.concatenate(boxes), np.concatenate(scores)
    box, score = box[score >= confidence], score[score >= confidence]
    order, kept = score.argsort()[::-1], []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        sides = np.minimum(box[first, 2:], box[rest, 2:]) - np.maximum(box[first, :2], box[rest, :2])
        shared = np.clip(sides, 0, None).prod(1)
        area = (box[:, 2:] - box[:, :2]).prod(1)
        order = rest[shared / (area[first] + area[rest] - shared) <= overlap]
    return box[kept]


def measure_around(calls: int, faces: int) -> dict[str, tuple[float, float]]:
    """Return us before and after a 640x640 YuNet: the detector's, and plain numpy's."""
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    tensors, params = yunet_tensors(faces), EVERY_SIZE
    session: Session = Canned(tensors)
    detector = Detector(HEADS["yunet"].conventions, session, params)
    frame = Frame(0, 0, SIDE, SIDE, Ready(pixels))
    before, after, plain_before, plain_after = [], [], [], []
    for _ in range(calls):
        stats = detector.stats
        marks = stats.preprocess_s, stats.postprocess_s
        detector.detect([frame])
        before.append(stats.preprocess_s - marks[0])
        after.append(stats.postprocess_s - marks[1])
        started = time.perf_counter()
        numpy_input(pixels)
        between = time.perf_counter()
        numpy_boxes(tensors, params.confidence_th, params.nms_iou)
        plain_before.append(between - started)
        plain_after.append(time.perf_counter() - between)
    medians = [1e6 * statistics.median(figures) for figures in (before, plain_before, after, plain_after)]
    return {"before": (medians[0], medians[1]), f"after, {faces} faces": (medians[2], medians[3])}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep other processes at work for as long as the block lasts."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def models(folder: Path) -> list[Path]:
    """Return the detectors of the zoo that are in the cache, or one that is made up."""
    known = [config.model_dir() / ZOO[name].asset.filename for name in ("yunet", "centerface")]
    return [path for path in known if path.is_file()] or [write_square_detector(folder / "squares.onnx")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument(
        "--busy", type=int, default=0, metavar="N", help="keep so many other processes at work beside it"
    )
    args = parser.parse_args()
    print(f"ONNX Runtime {ort.__version__}; ms a call, and % of a core at 5 fps")
    names = ["ours", *(f"{kind} ratio" for kind in WAITS), "cpu", *(f"{kind} cpu" for kind in WAITS)]
    print(f"{'model':20} threads  " + "  ".join(names))
    with TemporaryDirectory() as folder, busy(args.busy):
        for model in args.models or models(Path(folder)):
            for threads in map(int, args.threads.split(",")):
                row = measure_model(model, threads, args.rounds, args.calls, args.seconds)
                shown = "  ".join(f"{row[name]:{len(name)}.{2 + name.endswith('ratio')}f}" for name in names)
                print(f"{model.stem:20} {threads:7}  {shown}")
    print("\nus around a YuNet of 640x640: ours, plain numpy")
    for faces in (3, 30):
        for step, (ours, plain) in measure_around(200, faces).items():
            print(f"{step:24} {ours:7.0f} {plain:7.0f} {plain / ours:6.2f} times as fast")


def test_both_sides_compute_the_same(tmp_path: Path) -> None:
    row = measure_model(write_square_detector(tmp_path / "squares.onnx"), 1, rounds=1, calls=2, seconds=0.2)
    assert all(figure > 0 for name, figure in row.items() if "cpu" not in name)
    detector = Detector(HEADS["yunet"].conventions, Canned(yunet_tensors(30)), EVERY_SIZE)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    (found,) = detector.detect([Frame(0, 0, SIDE, SIDE, Ready(pixels))])
    plain = np.clip(numpy_boxes(yunet_tensors(30), EVERY_SIZE.confidence_th, EVERY_SIZE.nms_iou), 0, SIDE)
    assert len(plain) == len(found) > 0
    np.testing.assert_allclose(sorted(found.boxes.tolist()), sorted(plain.tolist()), rtol=1e-3, atol=1e-2)
    assert set(measure_around(1, 3)) == {"before", "after, 3 faces"}


if __name__ == "__main__":
    main()
