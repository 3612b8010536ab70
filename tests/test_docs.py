"""What the documentation shows runs as shown, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from streamtrack.api import BackendOptions, Sink, SourceOptions
from streamtrack.errors import InferenceError, ModelLoadError, SinkError, SourceOpenError
from streamtrack.models.spec import ModelSpec
from streamtrack.testing.results import make_frame, make_info, make_result
from streamtrack.testing.sinks import SinkConformance

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def shown(heading: str) -> dict[str, Any]:
    """Run the first example under a heading of the plug-in page and return what it defines."""
    section = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    code = BLOCK.search(section)
    assert code, f"no example under '{heading}'"
    names: dict[str, Any] = {"__name__": heading}
    exec(compile(code[1], f"docs/plugins.md: {heading}", "exec"), names)
    return names


class TestShownSink(SinkConformance):
    def make_sink(self) -> Sink:
        sink: Sink = shown("A sink")["CountsSink"]()
        return sink


def test_the_shown_sink_counts(tmp_path: Path) -> None:
    sink = shown("A sink")["CountsSink"](minimum=1)
    sink.open(make_info(tmp_path))
    box = (10.0, 10.0, 40.0, 40.0)
    sink.write(make_result(make_frame(0), [(1, box), (2, box)], lost=[(3, box)]))
    sink.write(make_result(make_frame(5)))
    sink.write(make_result(make_frame(10), [(1, box)]))
    sink.close()
    lines = (tmp_path / "counts.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["frame,seconds,tracks", "0,0.000,2", "10,0.400,1"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_the_shown_sink_says_that_the_disk_is_full(tmp_path: Path) -> None:
    (tmp_path / "counts.csv").symlink_to("/dev/full")
    sink = shown("A sink")["CountsSink"]()
    for call in (lambda: sink.open(make_info(tmp_path)), sink.close):
        with pytest.raises(SinkError, match=r"counts\.csv cannot be written: No space left"):
            call()


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    for n in range(6):
        Image.new("RGB", (64, 48), (40 * n, 0, 255)).save(tmp_path / f"{n}.jpg", quality=95)
    (tmp_path / "3.jpg").write_bytes(b"no picture")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "indexes", "strided"),
    [({}, [0, 1, 2, 4, 5], 0), ({"stride": 2}, [0, 2, 4], 3), ({"fps": 0.5}, [0, 2, 4], 3)],
)
def test_the_shown_source_keeps_its_books(
    stills: Path, options: dict[str, Any], indexes: list[int], strided: int
) -> None:
    source = shown("A source")["StillsSource"](str(stills), SourceOptions(**options))
    info = source.open()
    frames = list(source)
    source.close()
    assert [frame.index for frame in frames] == indexes
    assert [frame.ts_s for frame in frames] == [float(index) for index in indexes]
    assert (info.width, info.height, info.frames_estimate) == (64, 48, 6)
    stats = source.stats
    assert stats.strided == strided
    assert stats.seen == stats.strided + stats.corrupt + stats.delivered == 6


def test_the_shown_source_gives_pictures_as_asked(stills: Path) -> None:
    source = shown("A source")["StillsSource"](str(stills), SourceOptions())
    source.open()
    frame = list(source)[1]
    assert frame.rgb().flags.c_contiguous
    assert frame.scaled(32, 24).transpose(2, 0, 1).flags.c_contiguous
    assert frame.crop((10, 10, 20, 30)).shape == (20, 10, 3)
    assert np.abs(frame.rgb().astype(int) - (40, 0, 255)).max() <= 3
    source.close()


def test_the_shown_source_says_when_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError, match="no JPEG file"):
        shown("A source")["StillsSource"](str(tmp_path), SourceOptions()).open()


def test_the_shown_backend_answers(tmp_path: Path) -> None:
    backend = shown("A backend")["ConstantBackend"]()
    spec = ModelSpec(name="constant", head="centerface", input_size=(64, 96))
    np.savez(tmp_path / "model.npz", heat=np.full((1, 1, 16, 24), 0.5, np.float32))
    session = backend.load(tmp_path / "model.npz", spec, BackendOptions())
    assert session.outputs == (("heat", (None, 1, 16, 24)),)
    assert session.input_shape == (None, 3, 64, 96)
    assert session.run(np.zeros((2, 3, 64, 96), np.float32))["heat"].shape == (2, 1, 16, 24)
    with pytest.raises(InferenceError, match="up to 8"):
        session.run(np.zeros((9, 3, 64, 96), np.float32))
    session.close()
    (tmp_path / "broken.npz").write_bytes(b"no tensors")
    with pytest.raises(ModelLoadError, match=r"broken\.npz"):
        backend.load(tmp_path / "broken.npz", spec, BackendOptions())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_architecture_page_knows_every_part() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    parts = [p for p in (ROOT / "src" / "streamtrack").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
    names = [p.name if p.suffix else f"{p.name}/" for p in parts if not p.name.startswith("_")]
    assert len(names) > 10
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_shown_way_to_cluster_finds_who_is_who(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tracks 3, 8 and 5 form a chain, 4 is alone; the last line has no row, as a kill may leave it."""
    (tmp_path / "out" / "video").mkdir(parents=True)
    angles = np.radians([0, 100, 55, 110 + 90])
    np.save(tmp_path / "out/video/tracks.npy", np.stack((np.cos(angles), np.sin(angles)), 1).astype(np.float32))
    index = "".join(f'{{"track_id":{track}}}\n' for track in (3, 8, 5, 4))
    (tmp_path / "out/video/tracks_index.jsonl").write_text(index)
    monkeypatch.chdir(tmp_path)
    code = BLOCK.findall((ROOT / "docs" / "embeddings.md").read_text(encoding="utf-8"))[1]
    exec(compile(code, "docs/embeddings.md", "exec"), {})
    assert capsys.readouterr().out == "{3: 0, 8: 0, 5: 0, 4: 3}\n"
