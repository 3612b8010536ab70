"""The cache of compiled models."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamtrack.errors import ModelLoadError
from streamtrack_coreml import compiled

Writer = Callable[..., Path]
Change = Callable[[Path, Callable[[dict[str, Any]], Any]], None]


@pytest.fixture
def load(runtime: Any) -> Callable[[Path, Path | None], list[str]]:
    """``load(package, cache_dir)`` loads and returns what was said."""

    def load(package: Path, cache_dir: Path | None) -> list[str]:
        said: list[str] = []
        compiled.load(package, runtime.ComputeUnit.ALL, runtime, cache_dir, said.append)
        return said

    return load


Load = Callable[[Path, Path | None], list[str]]


def test_the_second_start_does_not_compile(tmp_path: Path, write: Writer, runtime: Any, load: Load) -> None:
    path = write((1, 3, 32, 64))
    assert load(path, tmp_path / "cache") == ["compiling model.mlpackage for this machine"]
    assert load(path, tmp_path / "cache") == []
    assert len(runtime.compiled) == 1
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.suffix == ".mlmodelc"
    assert {place for place, _ in runtime.loaded} == {str(kept)}


def test_another_model_or_system_is_compiled_for_itself(
    tmp_path: Path, write: Writer, runtime: Any, change: Change, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write((1, 3, 32, 64))
    load(path, tmp_path / "cache")
    change(path, lambda described: described["inputs"]["picture"].update(shape=[1, 3, 64, 64]))
    load(path, tmp_path / "cache")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("26.0", ("", "", ""), "arm64"))
    load(path, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == len(runtime.compiled) == 3


def test_what_no_longer_loads_is_compiled_again(tmp_path: Path, write: Writer, runtime: Any, load: Load) -> None:
    path = write((1, 3, 32, 64))
    load(path, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    (kept / "model.json").unlink()
    said = load(path, tmp_path / "cache")
    assert "no longer loads, compiling it again" in said[0]
    assert len(runtime.compiled) == 2
    assert load(path, tmp_path / "cache") == []


def test_without_a_cache_nothing_is_left(tmp_path: Path, write: Writer, runtime: Any, load: Load) -> None:
    path = write((1, 3, 32, 64))
    before = sorted(tmp_path.iterdir())
    load(path, None)
    assert sorted(tmp_path.iterdir()) == before
    assert not Path(runtime.compiled[0]).exists()


def test_a_process_that_was_faster_is_no_error(tmp_path: Path, write: Writer, runtime: Any, load: Load) -> None:
    path = write((1, 3, 32, 64))
    alone = runtime.models.utils.compile_model

    def overtaken(model: str, destination_path: str) -> str:
        alone(model, destination_path)
        runtime.models.utils.compile_model = alone
        load(path, tmp_path / "cache")
        return destination_path

    runtime.models.utils.compile_model = overtaken
    load(path, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert len(runtime.loaded) == 2


@pytest.mark.parametrize("cached", [True, False])
def test_a_model_that_cannot_be_compiled(tmp_path: Path, write: Writer, runtime: Any, load: Load, cached: bool) -> None:
    runtime.failure = "compile"
    with pytest.raises(ModelLoadError, match=r"cannot compile .*model\.mlpackage: compiler error: Encountered"):
        load(write((1, 3, 32, 64)), tmp_path / "cache" if cached else None)
    assert not cached or not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, write: Writer, runtime: Any, load: Load) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    with pytest.raises(ModelLoadError, match=r"cannot be kept in .*cache: "):
        load(write((1, 3, 32, 64)), tmp_path / "cache")
