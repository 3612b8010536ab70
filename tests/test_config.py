"""Layers, origins and errors of the settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack import config
from streamtrack.errors import ConfigError
from streamtrack.params import TrackerParams


@pytest.fixture(autouse=True)
def _own_config_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def profile(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_each_layer_beats_the_one_below_and_is_named(tmp_path: Path) -> None:
    path = profile(tmp_path, "tracker: {max_gap_s: 1, track_buffer: 10, new_thresh: 0.6}")
    resolved = config.resolve(
        path,
        {"tracker.max_gap_s": "3"},
        environ={"STREAMTRACK_TRACKER__MAX_GAP_S": "2", "STREAMTRACK_TRACKER__TRACK_BUFFER": "20"},
    )
    tracker = resolved.config.tracker
    assert (tracker.max_gap_s, tracker.track_buffer, tracker.new_thresh, tracker.low_thresh) == (3, 20, 0.6, 0.1)
    assert resolved.origins == {
        "tracker.max_gap_s": "command line",
        "tracker.track_buffer": "environment STREAMTRACK_TRACKER__TRACK_BUFFER",
        "tracker.new_thresh": f"profile {path}",
    }


OLD = {
    "TRACK_MAX_GAP_SEC": ("tracker.max_gap_s", "4", 4.0),
    "BYTE_TRACK_BUFFER": ("tracker.track_buffer", "120", 120.0),
    "BYTE_TRACK_MATCH_THRESH": ("tracker.match_thresh", "0.8", 0.8),
    "BYTE_TRACK_NEW_TRACK_THRESH": ("tracker.new_thresh", "0.7", 0.7),
    "SCREANALYTICS_TRACK_HIGH_THRESH": ("tracker.high_thresh", "0.5", 0.5),
    "SCREANALYTICS_TRACK_SAMPLE_LIMIT": ("output.samples_per_track", "5", 5),
    "OMP_NUM_THREADS": ("runtime.threads", "3", 3),
    "MKL_NUM_THREADS": ("runtime.threads", "3", 3),
    "OPENBLAS_NUM_THREADS": ("runtime.threads", "3", 3),
}


@pytest.mark.parametrize("name", OLD)
def test_an_old_name_is_between_the_profile_and_the_new_name(name: str, tmp_path: Path) -> None:
    key, text, expected = OLD[name]
    path = profile(tmp_path, "tracker: {max_gap_s: 1, track_buffer: 10, match_thresh: 0.6, new_thresh: 0.6}")
    resolved = config.resolve(path, environ={name: text})
    assert value_of(resolved, key) == expected
    assert resolved.origins[key] == f"environment {name}"
    new = f"STREAMTRACK_{key.upper().replace('.', '__')}"
    assert config.resolve(path, environ={name: text, new: "1"}).origins[key] == f"environment {new}"
    assert config.resolve(path, {key: 1}, environ={name: text, new: "1"}).origins[key] == "command line"
    with pytest.raises(ConfigError, match=rf"{key} = 'much' \(environment {name}\) does not fit: it must be"):
        config.resolve(path, environ={name: "much"})


def value_of(resolved: config.Resolved, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(resolved.config, section), name)


def test_of_several_limits_of_threads_the_smallest_counts_and_none_raises_the_profiles(tmp_path: Path) -> None:
    limits = {"OMP_NUM_THREADS": "8,2", "MKL_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "0"}
    resolved = config.resolve(profile(tmp_path, ""), environ=limits)
    assert (resolved.config.runtime.threads, resolved.origins["runtime.threads"]) == (4, "environment MKL_NUM_THREADS")
    two = profile(tmp_path, "runtime: {threads: 2}", "two.yaml")
    assert config.resolve(two, environ=limits).config.runtime.threads == 2
    assert config.resolve(two, {"runtime.threads": 6}, environ=limits).config.runtime.threads == 6


def test_units_are_read_in_every_layer(tmp_path: Path) -> None:
    path = profile(tmp_path, "tracker: {max_gap_s: 1min}\ndetector: {min_size: 64 px}")
    environ = {"TRACK_MAX_GAP_SEC": "2500ms", "STREAMTRACK_SOURCE__FPS": "30fps"}
    resolved = config.resolve(path, {"tracker.track_buffer": "45 frames"}, environ=environ).config
    assert (resolved.tracker.max_gap_s, resolved.detector.min_size) == (2.5, 64)
    assert (resolved.source.fps, resolved.tracker.track_buffer) == (30, 45)
    assert config.resolve(path, environ={}).config.tracker.max_gap_s == 60


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, (5, 8.0)),
        ({"source.stride": 2}, (2, 0.0)),
        ({"source.fps": 4}, (1, 4.0)),
        ({"source.fps": 0}, (1, 0.0)),
        ({"source.stride": 2, "source.fps": 4}, (2, 4.0)),
    ],
)
def test_one_of_stride_and_fps_replaces_both_of_the_layers_below(
    tmp_path: Path, overrides: dict[str, float], expected: tuple[int, float]
) -> None:
    path = profile(tmp_path, "source: {stride: 5, fps: 8}")
    source = config.resolve(path, overrides, environ={}).config.source
    assert (source.stride, source.fps) == expected


@pytest.mark.parametrize("name", ["balanced", "fast_cpu", "high_accuracy", "live", "low_power"])
def test_every_shipped_profile_resolves(name: str) -> None:
    assert name in config.profiles()
    assert config.resolve(name, environ={}).profile == name


def test_a_profile_of_the_users_own_hides_a_shipped_one(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "streamtrack" / "profiles"
    folder.mkdir(parents=True)
    profile(folder, "source: {stride: 77}", "balanced.yaml")
    assert config.resolve(None, environ={}).config.source.stride == 77


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"source.strid": 2}, ["source.strid", "command line", "Did you mean 'source.stride'?"]),
        ({"sauce.stride": 2}, ["no section 'sauce'", "Did you mean 'source.stride'?"]),
        ({"source": 2}, ["Unknown setting 'source'"]),
        ({"min_size": 24}, ["Did you mean 'detector.min_size' or 'crops.min_size'?"]),
        ({"source.stride": 0}, ["source.stride = 0", "command line", "it must be 1 or more"]),
        ({"source.stride": "fast"}, ["source.stride = 'fast'", "it must be a whole number"]),
        ({"tracker.match_thresh": 1.5}, ["tracker.match_thresh = 1.5", "it must be 0 to 1."]),
        ({"output.jpeg_quality": 101}, ["output.jpeg_quality = 101", "it must be 1 to 100."]),
        (
            {"tracker.max_gap_s": "2 px"},
            ["tracker.max_gap_s = '2 px'", "'px' does not measure it: it is a time, in ms"],
        ),
        ({"detector.model": 5}, ["detector.model = 5", "it must be text; write '5' in quotes"]),
    ],
)
def test_an_error_names_key_value_and_layer(overrides: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.resolve(None, overrides, environ={})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_an_error_in_the_environment_says_so() -> None:
    with pytest.raises(ConfigError, match=r"runtime\.threads = '-1' \(environment STREAMTRACK_RUNTIME__THREADS\)"):
        config.resolve(None, environ={"STREAMTRACK_RUNTIME__THREADS": "-1"})


def test_other_variables_are_left_alone() -> None:
    assert config.resolve(None, environ={"STREAMTRACK_MODEL_DIR": "/x", "PATH": "/bin"}).origins.keys() == (
        config.resolve(None, environ={}).origins.keys()
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source: [1, 2", "is not YAML"),
        ("just words", "must hold sections"),
        ("source: 5", "line 1: section 'source' must hold keys with values"),
        ("source: {strides: 5}", "Did you mean 'source.stride'?"),
        ("source:\n  fps: 8\n  stride: 0", "line 3) does not fit: it must be 1 or more"),
    ],
)
def test_a_broken_profile_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = profile(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        config.resolve(path, environ={})
    assert words in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_an_unknown_profile_lists_the_others() -> None:
    with pytest.raises(ConfigError, match=r"no profile 'balancd'\. Did you mean 'balanced'\? Profiles: .*fast_cpu"):
        config.resolve("balancd", environ={})


def test_a_profile_file_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        config.resolve("nowhere/mine.yaml", environ={})


def test_assignments() -> None:
    assert config.parse_assignments(["a.b=1", "c.d=x=y", "e.f="]) == {"a.b": "1", "c.d": "x=y", "e.f": ""}
    for bad in ("a.b", "=1"):
        with pytest.raises(ConfigError, match=r"write section\.key=value"):
            config.parse_assignments([bad])


@given(stride=st.integers(1, 10**6), gap=st.floats(0.001, 1e6), on=st.booleans())
def test_text_reads_back_as_the_value(stride: int, gap: float, on: bool) -> None:
    overrides = {"source.stride": str(stride), "tracker.max_gap_s": repr(gap), "output.save_crops": str(on).lower()}
    resolved = config.resolve("balanced", overrides, environ={}).config
    assert (resolved.source.stride, resolved.tracker.max_gap_s, resolved.output.save_crops) == (stride, gap, on)


def test_the_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMTRACK_MODEL_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert config.model_dir() == tmp_path / ".cache" / "streamtrack" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert config.model_dir() == tmp_path / ".cache" / "streamtrack" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert config.model_dir() == Path("/cache/streamtrack/models")
    monkeypatch.delenv("STREAMTRACK_CACHE_DIR", raising=False)
    assert config.cache_dir() == Path("/cache/streamtrack")
    monkeypatch.setenv("STREAMTRACK_CACHE_DIR", "/mine")
    assert config.cache_dir() == Path("/mine")
    assert config.model_dir() == Path("/cache/streamtrack/models")
    monkeypatch.setenv("STREAMTRACK_MODEL_DIR", "/models")
    assert config.model_dir() == Path("/models")


@given(buffer=st.floats(0.1, 1e6), gap=st.floats(0.01, 1e6), rate=st.floats(1, 240), stride=st.integers(1, 100))
def test_a_lost_track_is_kept_for_the_shorter_of_the_two(buffer: float, gap: float, rate: float, stride: int) -> None:
    found = config.lifetime(TrackerParams(track_buffer=buffer, max_gap_s=gap), rate / stride)
    assert found.track_buffer_s == pytest.approx(buffer * stride / rate)
    assert found.seconds == min(found.max_gap_s, found.track_buffer_s)
    assert found.seconds == getattr(found, {"max_gap_s": "max_gap_s", "track_buffer": "track_buffer_s"}[found.binds])


def test_without_a_frame_rate_only_seconds_count() -> None:
    assert config.lifetime(TrackerParams(), 0.0) == config.Lifetime(None, 2.5)
    assert (config.lifetime(TrackerParams(), 0.0).binds, config.lifetime(TrackerParams(), 0.0).seconds) == (
        "max_gap_s",
        2.5,
    )


def test_thread_pools_of_libraries_are_held_small_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pools = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")
    names = {*(f"{library}_NUM_THREADS" for library in pools), "VECLIB_MAXIMUM_THREADS"}
    for name in (*names, "STREAMTRACK_POOLS"):
        monkeypatch.setenv(name, "")  # so that what is set here is taken back
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    # Libraries look once, as they load.
    monkeypatch.setitem(sys.modules, "numpy", ModuleType("numpy"))
    assert config.limit_library_threads(2) == {}
    assert os.environ["OMP_NUM_THREADS"] == ""
    monkeypatch.delitem(sys.modules, "numpy")
    assert config.limit_library_threads(2) == dict.fromkeys(names - {"MKL_NUM_THREADS"}, "2")
    assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("2", "1")
    # What was set here is not the user's wish, in this process and in its children.
    assert config.thread_variables() == {"MKL_NUM_THREADS": "1"}
    assert config.resolve().origins["runtime.threads"] == "environment MKL_NUM_THREADS"
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    assert config.limit_library_threads(0) == dict.fromkeys(names - {"MKL_NUM_THREADS"}, "1")
    # Seven at most and two at most are two at most.
    assert config.limit_library_threads(2) == dict.fromkeys(names, "2")
    assert "runtime.threads" not in config.resolve().origins
    assert config.limit_library_threads(0) == dict.fromkeys(names, "1")


def test_reading_the_settings_loads_no_library_that_reads_the_variables() -> None:
    code = "import sys, streamtrack.config; sys.exit(bool({'numpy', 'numba', 'av', 'onnxruntime'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
