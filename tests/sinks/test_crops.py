import errno
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from streamtrack.api import Sink
from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks.crops import CropsSink
from streamtrack.testing.results import make_frame, make_info, make_result
from streamtrack.testing.sinks import SinkConformance
from streamtrack.types import Result

BOX = (40.0, 40.0, 80.0, 100.0)


class TestCropsSink(SinkConformance):
    def make_sink(self) -> Sink:
        return CropsSink(every_frames=2)


def write(folder: Path, sink: CropsSink, results: list[Result], rate: float = 25.0) -> list[str]:
    sink.open(make_info(folder, rate=rate))
    for result in results:
        sink.write(result)
    sink.close()
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))


def test_one_crop_per_track_in_every_8_source_frames(tmp_path: Path) -> None:
    results = [make_result(make_frame(n), [(1, BOX)] + [(12, BOX)] * (n >= 3)) for n in range(17)]
    assert write(tmp_path, CropsSink(), results) == [
        *(f"crops/000001/{n:08d}.jpg" for n in (0, 8, 16)),
        *(f"crops/000012/{n:08d}.jpg" for n in (3, 11)),
    ]


def test_the_interval_is_media_time_and_does_not_alias_with_the_stride(tmp_path: Path) -> None:
    results = [make_result(make_frame(n), [(1, BOX)]) for n in range(0, 49, 6)]
    names = [Path(name).stem for name in write(tmp_path, CropsSink(every_frames=8), results)]
    assert [int(name) for name in names] == [0, 12, 24, 36, 48]


def test_only_confirmed_tracks_with_a_detection_in_this_frame(tmp_path: Path) -> None:
    results = [
        make_result(make_frame(0), lost=[(1, BOX)], tentative=[(2, BOX)]),
        make_result(make_frame(1), [(3, BOX)]),
    ]
    assert write(tmp_path, CropsSink(), results) == ["crops/000003/00000001.jpg"]


def test_a_detection_that_is_not_good_enough_does_not_take_the_turn(tmp_path: Path) -> None:
    weak, good = make_result(make_frame(0), [(1, BOX)], score=0.3), make_result(make_frame(1), [(1, BOX)])
    assert write(tmp_path, CropsSink(min_confidence=0.5), [weak, good]) == ["crops/000001/00000001.jpg"]


@pytest.mark.parametrize(("min_size", "crops"), [(40.0, 1), (41.0, 0)])
def test_min_size_is_of_the_shorter_side(tmp_path: Path, min_size: float, crops: int) -> None:
    assert len(write(tmp_path, CropsSink(min_size=min_size), [make_result(make_frame(0), [(1, BOX)])])) == crops


@pytest.mark.parametrize(("pad", "size"), [(0.0, (60, 40)), (0.25, (90, 60))])
def test_crops_have_the_pixels_of_the_box(tmp_path: Path, pad: float, size: tuple[int, int]) -> None:
    result = make_result(make_frame(0), [(1, BOX)])
    write(tmp_path, CropsSink(pad=pad), [result])
    pixels = simplejpeg.decode_jpeg((tmp_path / "crops/000001/00000000.jpg").read_bytes())
    assert pixels.shape[:2] == size
    assert np.abs(pixels.astype(int) - result.frame.crop(BOX, pad)).mean() < 4


def test_quality_matters(tmp_path: Path) -> None:
    sizes = []
    for quality in (10, 95):
        folder = tmp_path / str(quality)
        write(folder, CropsSink(jpeg_quality=quality), [make_result(make_frame(0), [(1, BOX)])])
        sizes.append((folder / "crops/000001/00000000.jpg").stat().st_size)
    assert sizes[0] < sizes[1]


def test_ended_tracks_are_forgotten(tmp_path: Path) -> None:
    sink = CropsSink()
    write(tmp_path, sink, [make_result(make_frame(n), [(n + 1, BOX)], ended=[n + 1]) for n in range(20)])
    assert len(sink._throttle) == 0


def test_a_full_disk_is_one_clear_sentence_and_leaves_no_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SinkError, match=r"00000000\.jpg': No space left on device; free space or choose"):
        write(tmp_path, CropsSink(), [make_result(make_frame(0), [(1, BOX)])])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "options", [{"jpeg_quality": 0}, {"jpeg_quality": 101}, {"every_frames": -1.0}, {"pad": float("nan")}]
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"crops\.{next(iter(options))} = "):
        CropsSink(**options)  # type: ignore[arg-type]
