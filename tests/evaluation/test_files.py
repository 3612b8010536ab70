"""Which file belongs to which: by name where there are several, and nothing is left out without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtrack.errors import SourceError
from streamtrack.evaluation.files import SequenceFiles, find_sequences, truth_file


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("train/A/gt/gt.txt", "train/B/gt/gt.txt", "txt/A.txt", "txt/B.txt", "txt/notes.md",
                 "runs/A/detections.jsonl", "runs/B/detections.jsonl", "runs/other/x", "part/A.txt"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "train" / "readme").mkdir()
    (tmp_path / "empty").mkdir()
    return tmp_path


def found(tree: Path, tracks: str, truth: str, *names: str) -> list[tuple[str, str, str]]:
    files = find_sequences(tree / tracks, tree / truth, names)
    return [(f.name, str(f.tracks.relative_to(tree)), str(f.truth.relative_to(tree))) for f in files]


@pytest.mark.parametrize(
    ("tracks", "truth", "expected"),
    [
        ("txt", "train", [("A", "txt/A.txt", "train/A/gt/gt.txt"), ("B", "txt/B.txt", "train/B/gt/gt.txt")]),
        ("runs", "train", [("A", "runs/A", "train/A/gt/gt.txt"), ("B", "runs/B", "train/B/gt/gt.txt")]),
        ("txt", "txt", [("A", "txt/A.txt", "txt/A.txt"), ("B", "txt/B.txt", "txt/B.txt")]),
        # One and one belong together whatever they are called.
        ("txt/B.txt", "train/A", [("A", "txt/B.txt", "train/A/gt/gt.txt")]),
        ("runs/B", "train/A/gt/gt.txt", [("A", "runs/B", "train/A/gt/gt.txt")]),
        ("runs/B/detections.jsonl", "train/A/gt", [("gt", "runs/B/detections.jsonl", "train/A/gt/gt.txt")]),
        ("part", "txt/B.txt", [("B", "part/A.txt", "txt/B.txt")]),
    ],
)
def test_sides_are_matched(tree: Path, tracks: str, truth: str, expected: list[tuple[str, str, str]]) -> None:
    assert found(tree, tracks, truth) == expected


def test_chosen_sequences_only(tree: Path) -> None:
    assert [name for name, *_ in found(tree, "part", "train", "A")] == ["A"]
    assert [name for name, *_ in found(tree, "txt", "train", "B", "A")] == ["A", "B"]


@pytest.mark.parametrize(
    ("tracks", "truth", "names", "words"),
    [
        ("part", "train", (), "no sequence 'B' among the tracks in .*part'.*--seq"),
        ("txt", "train", ("C",), "no sequence 'C' among the tracks"),
        ("txt/A.txt", "train", (), "no sequence 'B' among the tracks"),
        ("txt", "train/A", ("B",), "no sequence 'B' among the truth"),
        ("empty", "train", (), "There are no tracks in .*empty"),
        ("txt", "empty", (), "There is no ground truth in .*empty"),
        ("missing", "train", (), "Cannot read .*missing': No such file"),
        ("txt", "missing", (), "Cannot read .*missing': No such file"),
    ],
)
def test_a_missing_side_is_said(tree: Path, tracks: str, truth: str, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        find_sequences(tree / tracks, tree / truth, names)


def test_the_truth_of_one_sequence(tree: Path) -> None:
    assert truth_file(tree / "train" / "A") == tree / "train" / "A" / "gt" / "gt.txt"
    assert truth_file(tree / "txt" / "A.txt") == tree / "txt" / "A.txt"
    with pytest.raises(SourceError, match="ground truth of 2 sequences"):
        truth_file(tree / "train")


def test_a_sequence_says_what_it_is() -> None:
    assert SequenceFiles("A", Path("t"), Path("g")) == ("A", Path("t"), Path("g"))
