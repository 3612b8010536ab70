"""What every source must do: subclass ``SourceConformance`` in a test module and say how to make yours.

```
class TestMySource(SourceConformance):
    frames = 40

    @pytest.fixture(autouse=True)
    def clip(self, tmp_path: Path) -> None:
        self.path = write_clip(tmp_path / "clip.mp4", indexed_frames(self.frames))

    def make_source(self, options: SourceOptions) -> Source:
        return MySource(str(self.path), options)
```
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pytest

from streamtrack.api import Source, SourceOptions
from streamtrack.errors import SourceError
from streamtrack.testing.clips import read_index
from streamtrack.types import Frame, SourceStats

SourceT = TypeVar("SourceT", bound=Source)


def opened(source: SourceT) -> SourceT:
    """Open ``source`` and return it; one that cannot be opened is closed, as a run does."""
    try:
        source.open()
    except BaseException:
        source.close()
        raise
    return source


class SourceConformance:
    """The contract of ``streamtrack.api.Source`` as tests, over a source that gives the pictures of ``draw_index``."""

    frames: int = 40
    """How many frames the source under test holds, numbered in their pixels from 0."""
    even = True
    """Whether the frames follow each other at an even rate."""

    def make_source(self, options: SourceOptions) -> Source:
        """Return a new source, not yet open, over the same ``frames`` frames each time."""
        raise NotImplementedError("a subclass of SourceConformance must say how to make its source")

    def read(self, frame: Frame) -> int:
        """Return the number in a frame's pixels."""
        return read_index(frame.scaled(160, 96))

    def play(self, **options: float) -> tuple[list[Frame], SourceStats]:
        """Return every frame of a new source, and its statistics at the end."""
        source = opened(self.make_source(SourceOptions(**options)))  # type: ignore[arg-type]
        try:
            return list(source), source.stats
        finally:
            source.close()

    def test_info_is_complete_once_open(self) -> None:
        """What a source says of itself before the first frame is true of its frames."""
        source = self.make_source(SourceOptions())
        info = source.open()
        frames = list(source)
        source.close()
        assert info.uri
        assert info.sampling
        assert {(frame.width, frame.height) for frame in frames} == {(info.width, info.height)}
        assert info.rate >= 0
        assert info.sample_rate == info.rate
        assert info.duration_s is None or info.duration_s > 0
        assert not info.live

    def test_estimate_is_near(self) -> None:
        """A progress bar may be wrong by a tenth, where frames follow each other evenly."""
        source = self.make_source(SourceOptions())
        estimate = source.open().frames_estimate
        source.close()
        assert estimate is None or estimate > 0
        assert estimate is None or not self.even or abs(estimate - self.frames) <= max(1, 0.1 * self.frames)

    @pytest.mark.parametrize("stride", [1, 2, 3, 7])
    def test_stride_gives_exactly_its_frames(self, stride: int) -> None:
        """Index and pixels agree: exactly the frames with ``index % stride == 0``, in presentation order."""
        frames, stats = self.play(stride=stride)
        expected = list(range(0, self.frames, stride))
        assert [frame.index for frame in frames] == expected
        assert [self.read(frame) for frame in frames] == expected
        assert stats.delivered == len(expected)
        assert stats.strided == self.frames - len(expected)

    def test_a_frame_has_the_same_time_at_every_stride(self) -> None:
        """Sampling chooses frames; it does not move them."""
        times = {frame.index: frame.pts_ns for frame in self.play()[0]}
        assert all(times[frame.index] == frame.pts_ns for frame in self.play(stride=3)[0])

    def test_time_starts_at_0_and_increases(self) -> None:
        """Strictly, in ns, whatever the stream's own timestamps are."""
        times = [frame.pts_ns for frame in self.play()[0]]
        assert times[0] == 0
        assert all(a < b for a, b in pairwise(times))

    def test_rate_is_that_of_the_timestamps(self) -> None:
        """The rate says how far apart frames are on average."""
        source = self.make_source(SourceOptions())
        rate = source.open().rate
        times = [frame.pts_ns for frame in source]
        source.close()
        if rate and self.even:
            assert (len(times) - 1) * 1e9 / (times[-1] - times[0]) == pytest.approx(rate, rel=0.05)

    @pytest.mark.parametrize("fps", [1.0, 8.0])
    def test_fps_is_a_limit(self, fps: float) -> None:
        """At most one frame per period, and none left out where the stream is slower."""
        source = self.make_source(SourceOptions(fps=fps))
        sample_rate = source.open().sample_rate
        frames = list(source)
        source.close()
        every = {frame.index: frame.pts_ns for frame in self.play()[0]}
        assert all(every[frame.index] == frame.pts_ns == every[self.read(frame)] for frame in frames)
        assert len(frames) <= every[self.frames - 1] / 1e9 * fps + 1.5
        assert len(frames) >= min(self.frames, int(every[self.frames - 1] / 1e9 * fps)) / 2
        assert sample_rate <= fps
        assert len(self.play(fps=1e6)[0]) == self.frames

    def test_statistics_add_up(self) -> None:
        """Every frame seen is in exactly one place, at the end and on the way."""
        source = opened(self.make_source(SourceOptions(stride=2)))
        for _ in source:
            stats = source.stats
            assert stats.seen == stats.strided + stats.corrupt + stats.dropped + stats.delivered
        source.close()
        stats = source.stats
        assert stats.seen == stats.strided + stats.corrupt + stats.dropped + stats.delivered == self.frames
        assert stats.damaged <= stats.delivered
        assert stats.pts_repaired <= stats.delivered

    def test_pictures_have_the_promised_shape_and_memory(self) -> None:
        """Planar where a detector reads it, interleaved where an encoder does; regions of any size up to the whole."""
        frame = self.play()[0][0]
        for width, height in ((64, 40), (frame.width, frame.height), (333, 77), (1, 1)):
            scaled = frame.scaled(width, height)
            assert scaled.shape == (height, width, 3)
            assert scaled.dtype == np.uint8
            assert scaled.transpose(2, 0, 1).flags.c_contiguous
        whole = frame.rgb()
        assert whole.shape == (frame.height, frame.width, 3)
        assert whole.dtype == np.uint8
        assert whole.flags.c_contiguous
        for box in ((0, 0, 1, 1), (3.2, 5.7, 20.1, 22.9), (frame.width - 5, frame.height - 3, 1e6, 1e6)):
            crop = frame.crop(box)
            assert crop.flags.c_contiguous
            assert crop.size
            assert crop.dtype == np.uint8
        part = frame.crop((8, 4, 24, 21)).astype(int)
        assert np.abs(part - whole[4:21, 8:24]).max() <= 2

    def test_pictures_belong_to_the_caller(self) -> None:
        """Who draws on a picture draws for nobody else."""
        frame = self.play()[0][0]
        first = frame.rgb().copy()
        for picture in (frame.rgb(), frame.scaled(frame.width, frame.height), frame.crop((0, 0, 9, 9))):
            picture[:] = 0
        assert np.array_equal(frame.rgb(), first)

    def test_frames_outlive_the_source(self) -> None:
        """A frame kept while decoding goes on, and after the source is closed, keeps its pixels."""
        source = opened(self.make_source(SourceOptions()))
        frames = []
        at_once = []
        for frame in source:
            frames.append(frame)
            at_once.append(frame.scaled(32, 20))
        source.close()
        del source
        assert all(np.array_equal(a.scaled(32, 20), b) for a, b in zip(frames, at_once, strict=True))

    def test_many_threads_may_read_one_frame(self) -> None:
        """Detector and sinks read the same frame at the same time."""
        frames = self.play()[0][:4]
        boxes = [(x, y, x + 21 + x, y + 17) for x in (0, 1, 6) for y in (0, 3)]

        def look(n: int) -> list[bytes]:
            frame = frames[n % len(frames)]
            crops = [frame.crop(box).tobytes() for box in boxes]
            return [frame.scaled(48, 30).tobytes(), frame.rgb().tobytes(), *crops]

        alone = [look(n) for n in range(len(frames))]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(look, range(40)))
        assert all(seen == alone[n % len(frames)] for n, seen in enumerate(together))

    def test_stops_in_the_middle(self) -> None:
        """A consumer may leave at any frame; what was given stays counted."""
        source = opened(self.make_source(SourceOptions()))
        frame = next(iter(source))
        source.close()
        assert frame.index == 0
        assert source.stats.delivered == 1
        assert self.read(frame) == 0

    def test_closes_without_having_been_read(self) -> None:
        """Closing is always possible, open or not."""
        for source in (self.make_source(SourceOptions()), opened(self.make_source(SourceOptions()))):
            source.close()
            assert source.stats.seen == source.stats.delivered == 0

    def test_gives_nothing_once_closed(self) -> None:
        """Neither an iterator from before nor a new one gives a frame, and a new one says why."""
        source = opened(self.make_source(SourceOptions()))
        frames = iter(source)
        next(frames)
        source.close()
        assert next(frames, None) is None
        with pytest.raises(SourceError):
            next(iter(source))

    def test_two_at_once_do_not_disturb_each_other(self) -> None:
        """Many streams run in one process."""
        first, second = (opened(self.make_source(SourceOptions(stride=stride))) for stride in (1, 2))
        pairs = list(zip(first, second, strict=False))
        first.close()
        second.close()
        assert all((a.index, b.index) == (n, 2 * n) for n, (a, b) in enumerate(pairs))
        assert all((self.read(a), self.read(b)) == (n, 2 * n) for n, (a, b) in enumerate(pairs))
