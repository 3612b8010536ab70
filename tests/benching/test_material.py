import itertools
from pathlib import Path

import av
import pytest

from streamtrack.benching import material
from streamtrack.benching.material import FEED_RATE, as_feed, built_in_clip, chosen_models, given_clip
from streamtrack.errors import ConfigError, SourceOpenError


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMTRACK_MODEL_DIR", str(tmp_path / "models"))


def test_nothing_is_downloaded_unasked() -> None:
    with pytest.raises(ConfigError, match=r"name one with --models yunet, or run streamtrack models pull yunet"):
        chosen_models(())


def test_cached_detectors_in_the_order_of_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolve(name: str, head: object, cache: Path, say: object) -> material.Model:
        asked.append(name)
        return material.Model(name, Path(name), material.ZOO[name].spec, name)

    monkeypatch.setattr(material, "state", lambda asset, cache: "missing" if "yunet" in asset.filename else "ok")
    monkeypatch.setattr(material, "resolve", resolve)
    found = chosen_models(())
    assert found[0].name == "centerface"
    assert "yunet" not in asked
    assert set(asked) <= set(material.names_of("detector"))


def test_a_model_by_path(squares: Path) -> None:
    (model,) = chosen_models([str(squares)])
    assert (model.name, model.path, model.written) == ("squares", squares, str(squares))


def test_without_portraits_there_are_squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "_SYNTHETIC_FRAMES", 3)
    clip = built_in_clip(tmp_path)
    assert clip.path.is_file()
    assert "without faces" in clip.about


def test_the_demos_clip_is_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[Path] = []

    def write(folder: Path, portraits: dict[str, Path]) -> tuple[Path, None]:
        rendered.append(folder)
        folder.mkdir(parents=True)
        (folder / "clip.mp4").write_bytes(b"x")
        return folder / "clip.mp4", None

    monkeypatch.setattr(material, "state", lambda asset, cache: "ok")
    monkeypatch.setattr(material, "write_clip", write)
    assert built_in_clip(tmp_path) == built_in_clip(tmp_path)
    assert len(rendered) == 1


def test_a_clip_of_ones_own(clip: Path) -> None:
    assert given_clip(str(clip)) == (clip, "clip.mp4")
    with pytest.raises(ConfigError, match="no clip"):
        given_clip(str(clip.with_name("absent.mp4")))


def test_a_feed_has_the_same_pictures_at_its_own_rate(clip: Path, tmp_path: Path) -> None:
    with av.open(str(as_feed(clip, tmp_path))) as feed, av.open(str(clip)) as original:
        times = [frame.time for frame in feed.decode(video=0)]
        assert len(times) == sum(1 for _ in original.decode(video=0))
    steps = [b - a for a, b in itertools.pairwise(times) if a is not None and b is not None]
    assert sum(steps) / len(steps) == pytest.approx(1 / FEED_RATE, rel=0.01)
    assert max(steps) < 1.2 / FEED_RATE


def test_what_is_no_video_is_no_feed(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(SourceOpenError, match=r"x\.mp4 cannot be played"):
        as_feed(tmp_path / "x.mp4", tmp_path)
