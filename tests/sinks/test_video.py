import dataclasses
import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamtrack.api import Sink
from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks._draw import track_colour
from streamtrack.sinks.video import VideoSink
from streamtrack.testing.results import ArrayPicture, make_frame, make_info, make_result, walk
from streamtrack.testing.sinks import SinkConformance
from streamtrack.types import Frame, Result

BOX = (60.0, 60.0, 140.0, 160.0)


class TestVideoSink(SinkConformance):
    def make_sink(self) -> Sink:
        return VideoSink()


def write(folder: Path, sink: VideoSink, results: list[Result], **info: float) -> None:
    sink.open(make_info(folder, **info))  # type: ignore[arg-type]
    for result in results:
        sink.write(result)
    sink.close()


def read(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Return time in seconds and RGB of every frame."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [float(frame.time or 0) for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def grey(index: int, pts_ns: int, width: int = 320, height: int = 240) -> Frame:
    return Frame(index, pts_ns, width, height, ArrayPicture(np.full((height, width, 3), 90, np.uint8)))


def test_plays_in_a_browser(tmp_path: Path) -> None:
    write(tmp_path, VideoSink(), list(walk(30)))
    data = (tmp_path / "annotated.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index must come first"
    with av.open(str(tmp_path / "annotated.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 320, 240)
        assert (codec.colorspace, codec.color_range) == (1, 1), "tagged as BT.709, limited range"


@pytest.mark.parametrize(("width", "height", "size"), [(321, 241, (320, 240)), (2560, 1080, (1280, 540))])
def test_even_sides_and_no_larger_than_max_side(tmp_path: Path, width: int, height: int, size: tuple[int, int]) -> None:
    write(tmp_path, VideoSink(), [make_result(grey(0, 0, width, height), [(1, BOX)])])
    _, (picture,) = read(tmp_path / "annotated.mp4")
    assert picture.shape == (size[1], size[0], 3)


def test_frames_are_shown_at_their_own_times(tmp_path: Path) -> None:
    times_ns = [5_000_000_000, 5_040_000_000, 5_300_000_000, 6_000_000_000]
    write(tmp_path, VideoSink(), [make_result(grey(n, pts)) for n, pts in enumerate(times_ns)])
    times, _ = read(tmp_path / "annotated.mp4")
    assert times == pytest.approx([0.0, 0.04, 0.3, 1.0], abs=1e-4)


def test_a_stride_plays_at_the_right_speed_to_the_last_frame(tmp_path: Path) -> None:
    results = [make_result(make_frame(n, rate=25.0)) for n in range(0, 50, 10)]
    write(tmp_path, VideoSink(), results)
    with av.open(str(tmp_path / "annotated.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base == pytest.approx(Fraction(2))


def test_timestamps_that_cannot_be_told_apart_keep_their_order(tmp_path: Path) -> None:
    write(tmp_path, VideoSink(), [make_result(grey(n, n)) for n in range(5)])
    times, _ = read(tmp_path / "annotated.mp4")
    assert len(times) == 5
    assert times == sorted(set(times))


def test_boxes_have_the_colour_of_their_id_and_lie_where_the_detection_is(tmp_path: Path) -> None:
    write(tmp_path, VideoSink(crf=5), [make_result(grey(0, 0), [(3, BOX)], keypoints=0)])
    _, (picture,) = read(tmp_path / "annotated.mp4")
    left_edge = picture[100:140, 60:62].reshape(-1, 3).mean(axis=0)
    assert np.abs(left_edge - track_colour(3)).max() < 30
    assert np.abs(picture[100:140, 90:110].astype(int) - 90).max() < 12, "nothing is drawn over the face"


def test_tentative_and_lost_tracks_are_not_drawn(tmp_path: Path) -> None:
    write(tmp_path, VideoSink(crf=5), [make_result(grey(0, 0), lost=[(1, BOX)], tentative=[(2, BOX)], keypoints=0)])
    _, (picture,) = read(tmp_path / "annotated.mp4")
    assert np.abs(picture[:200].astype(int) - 90).max() < 6


def test_the_trail_is_as_long_as_it_should_be_and_ends_with_its_track(tmp_path: Path) -> None:
    sink = VideoSink(trail_s=0.2)
    sink.open(make_info(tmp_path))
    for n in range(20):
        sink.write(make_result(grey(n, n * 40_000_000), [(1, (10.0 * n, 60.0, 10.0 * n + 60, 160.0))]))
    assert [pts for pts, _, _ in sink._annotator._trails[1]] == [n * 40_000_000 for n in range(14, 20)]
    sink.write(make_result(grey(20, 800_000_000), ended=[1]))
    assert sink._annotator._trails == {}
    sink.close()


@pytest.mark.parametrize(("fps", "kept"), [(0.0, 50), (25.0, 50), (10.0, 20), (8.0, 16), (100.0, 50)])
def test_a_rate_is_kept_evenly_and_plays_at_the_right_speed(tmp_path: Path, fps: float, kept: int) -> None:
    write(tmp_path, VideoSink(fps=fps), [make_result(grey(n, n * 40_000_000, 32, 32)) for n in range(50)])
    times, _ = read(tmp_path / "annotated.mp4")
    assert len(times) == kept
    assert times[0] == 0
    if fps:
        assert all(abs(time - n / min(fps, 25.0)) < 0.041 for n, time in enumerate(times))


def test_trails_and_cuts_of_frames_that_are_left_out_are_not_lost(tmp_path: Path) -> None:
    sink = VideoSink(fps=5)
    sink.open(make_info(tmp_path))
    for n in range(4):
        result = make_result(grey(n, n * 40_000_000), [(1, (10.0 * n, 60.0, 10.0 * n + 60, 160.0))])
        sink.write(dataclasses.replace(result, cut=n == 2))
    assert len(sink._annotator._trails[1]) == 4
    assert sink._annotator._cut_ns == 80_000_000
    sink.close()


def test_a_cut_is_marked_for_a_moment(tmp_path: Path) -> None:
    results = [make_result(grey(n, n * 200_000_000)) for n in range(8)]
    write(tmp_path, VideoSink(crf=5), [dataclasses.replace(each, cut=each.frame.index == 2) for each in results])
    _, pictures = read(tmp_path / "annotated.mp4")
    # Something red in the bottom rows, where the clock is.
    red = [bool(((p[200:, :, 0] > 180) & (p[200:, :, 1] < 110)).sum() > 40) for p in pictures]
    assert red == [False, False, True, True, True, True, False, False]


def test_a_source_that_changes_its_shape_is_fitted_into_the_first_one(tmp_path: Path) -> None:
    frames = [grey(0, 0, 320, 240), grey(1, 40_000_000, 240, 320)]
    write(tmp_path, VideoSink(crf=5), [make_result(frame) for frame in frames])
    _, pictures = read(tmp_path / "annotated.mp4")
    assert [picture.shape for picture in pictures] == [(240, 320, 3)] * 2
    assert pictures[1][100, 10].max() < 10, "bars at the sides"
    assert abs(int(pictures[1][100, 160, 0]) - 90) < 6


def test_nothing_is_written_for_a_run_without_frames(tmp_path: Path) -> None:
    write(tmp_path, VideoSink(), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../out.mp4", "/tmp/out.mp4", ".", "a/../../out.mp4"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(SinkError, match="must be a file inside the run's folder"):
        VideoSink(path=path).open(make_info(tmp_path))


def test_a_path_below_the_folder_is_made(tmp_path: Path) -> None:
    write(tmp_path, VideoSink(path="video/tracks.mp4"), list(walk(3)))
    assert (tmp_path / "video" / "tracks.mp4").is_file()


def test_a_disk_that_takes_no_more_is_one_clear_sentence_and_leaves_no_piece(tmp_path: Path) -> None:
    sink = VideoSink()
    sink.open(make_info(tmp_path))
    rng = np.random.default_rng(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(SinkError, match=r"Cannot write '.*annotated\.mp4': File too large"):
            write_noise(sink, rng)
        sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def write_noise(sink: VideoSink, rng: np.random.Generator) -> None:
    for n in range(200):
        noise = ArrayPicture(rng.integers(0, 255, (240, 320, 3), np.uint8))
        sink.write(make_result(Frame(n, n * 40_000_000, 320, 240, noise)))


@pytest.mark.parametrize("options", [{"crf": 52}, {"max_side": 0}, {"trail_s": -1.0}, {"fps": -1.0}])
def test_options_out_of_range_are_refused_by_name(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=rf"video\.{next(iter(options))} = "):
        VideoSink(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("side", "dots"), [(12.0, False), (100.0, True)])
def test_keypoints_are_drawn_unless_they_would_hide_the_face(tmp_path: Path, side: float, dots: bool) -> None:
    box = (100.0, 80.0, 100.0 + side, 80.0 + side)
    write(tmp_path, VideoSink(crf=5), [make_result(grey(0, 0), [(3, box)], keypoints=1)])
    _, (picture,) = read(tmp_path / "annotated.mp4")
    x, y = round(100 + side / 4), round(80 + side / 4)
    assert (picture[y - 1 : y + 1, x - 1 : x + 1].max() > 180) == dots
