"""The contract over a folder of pictures, and which files are taken in which order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamtrack.api import Source, SourceOptions
from streamtrack.build import make_source
from streamtrack.errors import ConfigError, DecodeError, SourceOpenError
from streamtrack.sources.images import ImagesSource, find_pictures, natural
from streamtrack.testing.clips import draw_index, read_index
from streamtrack.testing.sources import SourceConformance, opened
from streamtrack.types import Frame


def write_picture(path: Path, index: int, width: int = 160, height: int = 96) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_index(index, width, height)).save(path)
    return path


def everything(uri: object, rate: float = 25.0, **options: int) -> tuple[list[Frame], ImagesSource]:
    source = opened(ImagesSource(str(uri), SourceOptions(**options), rate=rate))
    try:
        return list(source), source
    finally:
        source.close()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
class TestImagesSource(SourceConformance):
    frames = 24

    @pytest.fixture(autouse=True)
    def pictures(self, tmp_path: Path, suffix: str) -> None:
        for index in range(self.frames):
            write_picture(tmp_path / f"img{index}.{suffix}", index)
        self.folder = tmp_path

    def make_source(self, options: SourceOptions) -> Source:
        return ImagesSource(str(self.folder), options, rate=12.5)


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Twelve numbered pictures, and what else lies about in a folder."""
    folder = tmp_path / "shots"
    for index in range(12):
        write_picture(folder / f"img{index:04d}.png", index)
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "album.png").mkdir()
    return folder


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", range(12)),
        ("img%04d.png", range(12)),
        ("img%d.png", []),
        ("*.png", range(12)),
        ("img000?.png", range(10)),
        ("img00[01]*.png", range(12)),
        ("../**/img001?.png", [10, 11]),
        ("img0007.png", [7]),
    ],
)
def test_a_folder_a_pattern_numbers_or_one_picture(shots: Path, pattern: str, expected: range) -> None:
    if not expected:
        with pytest.raises(SourceOpenError, match="is called"):
            find_pictures(str(shots / pattern))
        return
    frames, _ = everything(shots / pattern)
    assert [read_index(frame.rgb()) for frame in frames] == list(expected)


def test_the_source_is_chosen_by_what_is_written(shots: Path) -> None:
    for written in (f"{shots}", f"images:{shots}", f"images://{shots}", f"{shots}/*.png", f"{shots}?rate=5"):
        source = opened(make_source(written, SourceOptions(), {}))
        assert isinstance(source, ImagesSource)
        assert len(list(source)) == 12
        source.close()
    source = make_source(f"{shots}/img%04d.png?rate=5", SourceOptions(), {})
    assert source.open().rate == 5.0


def test_a_number_is_read_as_printf_writes_it(tmp_path: Path) -> None:
    for name in ("a08.png", "a8.png", "a0123.png", "a100.png", "ab12.png", "a12.png.png"):
        write_picture(tmp_path / name, 1)
    assert [path.name for path in find_pictures(str(tmp_path / "a%02d.png"))] == ["a08.png", "a100.png"]
    assert [path.name for path in find_pictures(str(tmp_path / "a%d.png"))] == ["a8.png", "a100.png"]


@given(st.lists(st.integers(0, 10**30), unique=True), st.sampled_from(["img{}.jpg", "{}", "9/x{}.9"]))
def test_numbers_sort_as_numbers(numbers: list[int], form: str) -> None:
    paths = [Path(form.format(number)) for number in numbers]
    assert sorted(paths, key=natural) == [Path(form.format(number)) for number in sorted(numbers)]


@given(st.lists(st.text(alphabet="aB01٣²-. ", min_size=1), unique=True))
def test_any_names_have_one_order(names: list[str]) -> None:
    paths = list({Path(name) for name in names})
    backwards = paths[::-1]
    assert sorted(paths, key=natural) == sorted(backwards, key=natural)


def test_the_rate_gives_the_times(shots: Path) -> None:
    frames, _ = everything(shots, rate=29.97)
    assert [frame.pts_ns for frame in frames] == [round(n * 1e11 / 2997) for n in range(12)]
    info = ImagesSource(str(shots), SourceOptions(), rate=4.0).open()
    assert (info.frames_estimate, info.duration_s, info.rate, info.codec) == (12, 3.0, 4.0, "png")


def test_each_frame_has_the_size_of_its_picture(tmp_path: Path) -> None:
    sizes = [(160, 96), (64, 48), (320, 200)]
    for index, (width, height) in enumerate(sizes):
        write_picture(tmp_path / f"{index}.bmp", index, width, height)
    frames, _ = everything(tmp_path)
    assert [(frame.width, frame.height) for frame in frames] == sizes
    assert [frame.rgb().shape[:2] for frame in frames] == [(height, width) for width, height in sizes]


def test_a_broken_picture_keeps_its_place_and_is_counted(shots: Path) -> None:
    (shots / "img0000.png").write_bytes(b"")
    (shots / "img0005.png").write_bytes((shots / "img0005.png").read_bytes()[:200])
    frames, source = everything(shots, stride=5)
    assert [frame.index for frame in frames] == [read_index(frame.rgb()) for frame in frames] == [10]
    stats = source.stats
    assert (stats.seen, stats.corrupt, stats.delivered, stats.strided, stats.undecoded) == (12, 2, 1, 9, 9)


def test_a_picture_that_was_cut_off_is_given_as_damaged(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    for name in "ab":
        Image.fromarray(noise).save(tmp_path / f"{name}.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "b.jpg").read_bytes()[:9000])
    frames, source = everything(tmp_path)
    assert len(frames) == 2
    assert (source.stats.damaged, source.stats.corrupt) == (1, 0)


def test_only_pictures_that_are_wanted_are_read(shots: Path) -> None:
    for path in shots.glob("img*.png"):
        if int(path.stem[3:]) % 4:
            path.write_bytes(b"never looked at")
    frames, source = everything(shots, stride=4)
    assert [frame.index for frame in frames] == [0, 4, 8]
    assert source.stats.corrupt == 0


def test_a_folder_without_a_picture_that_can_be_decoded(shots: Path) -> None:
    for path in shots.glob("img*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(DecodeError, match="None of the 12 pictures"):
        opened(ImagesSource(str(shots), SourceOptions()))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", r"no picture \(.jpg, .png, .bmp, .tiff, .webp\) in the folder"),
        ("clip.mp4", "one video in it, such as '.*clip.mp4'"),
        ("detections.jsonl", "replay:"),
    ],
)
def test_an_empty_folder_says_what_was_looked_for_and_what_is_there(tmp_path: Path, name: str, said: str) -> None:
    if name:
        (tmp_path / name).touch()
    with pytest.raises(SourceOpenError, match=said):
        opened(ImagesSource(str(tmp_path), SourceOptions()))


@pytest.mark.parametrize("pattern", ["*.jpg", "nowhere/img%04d.png", "nowhere/*.png"])
def test_a_pattern_that_fits_nothing_is_named(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(SourceOpenError) as caught:
        find_pictures(str(tmp_path / pattern))
    assert pattern in str(caught.value)
    assert ("no folder" in str(caught.value)) == pattern.startswith("nowhere")


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 1e10])
def test_a_rate_that_cannot_be(rate: float) -> None:
    with pytest.raises(ConfigError, match="rate"):
        ImagesSource("shots", SourceOptions(), rate=rate)


def test_options_that_cannot_be_are_refused_before_anything_is_opened() -> None:
    with pytest.raises(ConfigError, match="stride"):
        ImagesSource("shots", SourceOptions(stride=0))
