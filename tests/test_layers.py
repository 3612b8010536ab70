"""What a profile's file and the environment say, with the place of each value."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtrack import layers
from streamtrack.errors import ConfigError
from streamtrack.layers import Given


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_profile_gives_each_value_with_its_line(tmp_path: Path) -> None:
    text = "# mine\nsource: {stride: 5, fps: 8}\ncrops:\ntracker:\n  max_gap_s: 2500ms\n  fuse_score: no\n"
    assert layers.profile_file(written(tmp_path, text), "profile p") == [
        Given("source.stride", 5, "profile p", "profile p, line 2"),
        Given("source.fps", 8, "profile p", "profile p, line 2"),
        Given("tracker.max_gap_s", "2500ms", "profile p", "profile p, line 5"),
        Given("tracker.fuse_score", False, "profile p", "profile p, line 6"),
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "source: {}", "source:\n"])
def test_an_empty_profile_says_nothing(tmp_path: Path, text: str) -> None:
    assert layers.profile_file(written(tmp_path, text), "profile p") == []


def test_a_profile_may_use_anchors_and_merges(tmp_path: Path) -> None:
    text = "output: &all {save_crops: true}\nsource:\n  <<: {stride: 3}\n  fps: 2\n"
    found = {each.key: each.value for each in layers.profile_file(written(tmp_path, text), "p")}
    assert found == {"output.save_crops": True, "source.stride": 3, "source.fps": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source: {stride: 5\ntracker: 3", "mine.yaml' is not YAML, line 2, column"),
        ("source:\n\tstride: 5", "is not YAML, line 2, column 1"),
        (b"\xff\xfe\xfa", "is not YAML: it is not text in UTF-8"),
        (b"a: \x01", "is not YAML: "),
        ("a: 1\n---\nb: 2", "is not YAML, line 2"),
        ("a: !!python/object:os.system x", "is not YAML, line 1"),
        ("\n- source\n", "mine.yaml', line 2: a profile must hold sections with keys"),
        ("source: 5", "line 1: section 'source' must hold keys with values"),
        ("source: [1]", "line 1: section 'source' must hold keys with values"),
        ("source: {[1, 2]: 3}", "line 1: a key must be a word"),
        ("source:\n  stride: 1\n  stride: 2", "has 'stride' twice, in lines 2 and 3: keep one"),
        ("source: {}\nsource: {}", "has 'source' twice, in lines 1 and 2"),
    ],
)
def test_a_broken_profile_is_one_sentence_with_the_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^Profile '[^\n]+\.$") as caught:
        layers.profile_file(written(tmp_path, text), "profile p")
    assert words in str(caught.value)


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        layers.profile_file(tmp_path, "profile p")


def test_variables() -> None:
    environ = {"STREAMTRACK_A__B_C": "1", "STREAMTRACK_MODEL_DIR": "x", "BYTE_TRACK_BUFFER": " ", "PATH": "y"}
    assert layers.new_names(environ) == [Given("a.b_c", "1", *["environment STREAMTRACK_A__B_C"] * 2)]
    assert layers.old_names(environ) == []
    found = layers.thread_limits({"OMP_NUM_THREADS": "4, 2", "MKL_NUM_THREADS": "0", "OPENBLAS_NUM_THREADS": ""})
    assert found == [Given("runtime.threads", "4", *["environment OMP_NUM_THREADS"] * 2, lowers=True)]


def test_one_of_stride_and_fps_brings_the_other_along() -> None:
    stride = Given("source.stride", 3, "a", "b")
    other = Given("scene.cuts", True, "a", "b")
    assert layers.with_sampling_rule([other]) == [other]
    assert layers.with_sampling_rule([other, stride]) == [Given("source.fps", 0.0, "a", "b"), other, stride]
    both = [stride, Given("source.fps", 3, "a", "b")]
    assert layers.with_sampling_rule(both) == both
