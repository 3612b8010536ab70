from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from streamtrack.api import Sink
from streamtrack.errors import ConfigError
from streamtrack.sinks.frames import FramesSink
from streamtrack.testing.results import make_frame, make_info, make_result
from streamtrack.testing.sinks import SinkConformance


class TestFramesSink(SinkConformance):
    def make_sink(self) -> Sink:
        return FramesSink()


def test_every_processed_frame_under_its_index_in_the_source(tmp_path: Path) -> None:
    frames = [make_frame(n) for n in (0, 5, 10)]
    sink = FramesSink(jpeg_quality=95)
    sink.open(make_info(tmp_path))
    for frame in frames:
        sink.write(make_result(frame))
    sink.close()
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [f"{n:08d}.jpg" for n in (0, 5, 10)]
    pixels = simplejpeg.decode_jpeg((tmp_path / "frames/00000010.jpg").read_bytes())
    assert np.abs(pixels.astype(int) - frames[2].rgb()).mean() < 4


def test_quality_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"frames\.jpeg_quality = 300 must be 1 to 100"):
        FramesSink(jpeg_quality=300)
