"""The text format: what is read is what was written, and what is wrong is named with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import SourceOpenError
from streamtrack.motchallenge import SequenceInfo, read_rows, sequence_info, track_line


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3.5,4,5,6\n7,8,9,10,11,12\n",
        "1 2 3.5 4 5 6\n7\t8 9 10 11 12",
        "1, 2, 3.5, 4, 5, 6\r\n\r\n  7,8 ,9,10,1.1e1,12  \r\n",
        "\ufeff1,2,3.5,4,5,6\n7,8,9,10,11,12\n",
    ],
)
def test_commas_and_white_space_both_separate(tmp_path: Path, text: str) -> None:
    rows = read_rows(put(tmp_path / "t.txt", text), 6)
    assert rows.values.tolist() == [[1, 2, 3.5, 4, 5, 6], [7, 8, 9, 10, 11, 12]]
    assert rows.whole(0, "frame", 1).tolist() == [1, 7]
    assert rows.corners().tolist() == [[3.5, 4, 8.5, 10], [9, 10, 20, 22]]


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_an_empty_file_has_no_rows(tmp_path: Path, text: str) -> None:
    assert read_rows(put(tmp_path / "t.txt", text), 6).values.shape == (0, 6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2,3\n\n1,2\n", "line 3: 2 columns where at least 3"),
        ("1,2,3\n1,2,3,4\n", "line 2: 4 columns where the lines before have 3"),
        ("1,2\n", "line 1: 2 columns where at least 3"),
        ("1,2,3\n1,2,nan\n", "line 2: 'nan' is not a finite number"),
        ("1,2,3\n1,2,-inf\n", "line 2: '-inf' is not a finite number"),
        ("1,2,3\n1,,3\n", "line 2: 2 columns"),
        ("frame,id,x\n1,2,3\n", "line 1: 'frame' is not a finite number"),
        ("1,2,3\n1,2,1_0\n", "line 2: '1_0' is not a finite number"),
        ("1,2,3\n# by hand\n", "line 2: '#' is not a finite number"),
        (b"1,2,\xff\n", "is not a text file"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(SourceOpenError, match=words):
        read_rows(put(tmp_path / "t.txt", text), 3)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError, match=r"missing\.txt': No such file"):
        read_rows(tmp_path / "missing.txt", 3)


@pytest.mark.parametrize(("value", "words"), [("1.5", "line 3: frame 1.5"), ("0", "frame 0 is"), ("1e300", "1e\\+300")])
def test_whole_numbers_are_whole(tmp_path: Path, value: str, words: str) -> None:
    rows = read_rows(put(tmp_path / "t.txt", f"1,1,1\n\n{value},1,1\n"), 3)
    with pytest.raises(SourceOpenError, match=words):
        rows.whole(0, "frame", 1)


@given(
    st.integers(1, 10**6),
    st.integers(1, 10**9),
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=4),
    st.floats(0, 1),
)
def test_a_line_that_is_written_reads_back(frame: int, who: int, box: list[float], confidence: float) -> None:
    x0, x1, y0, y1 = *sorted(box[:2]), *sorted(box[2:])
    fields = [float(field) for field in track_line(frame, who, (x0, y0, x1, y1), confidence).split(",")]
    assert fields[:2] == [frame, who]
    assert np.allclose(
        [fields[2], fields[3], fields[2] + fields[4], fields[3] + fields[5]], [x0, y0, x1, y1], atol=2e-4
    )
    assert fields[6] == pytest.approx(confidence, abs=1e-4)
    assert fields[7:] == [-1, -1, -1]


def test_the_description_of_a_sequence_is_found_beside_and_above(tmp_path: Path) -> None:
    assert sequence_info(tmp_path / "det" / "det.txt") is None
    put(
        tmp_path / "seqinfo.ini",
        "[Sequence]\nname=X\nframeRate=14\nseqLength=837\nimWidth=640\nimHeight=480\nimExt=%x\n",
    )
    (tmp_path / "det").mkdir()
    expected = SequenceInfo("X", 837, 14.0, 640, 480)
    assert sequence_info(tmp_path / "det" / "det.txt") == sequence_info(tmp_path / "det.txt") == expected
    put(tmp_path / "seqinfo.ini", "[Sequence]\n")
    assert sequence_info(tmp_path / "det.txt") == SequenceInfo(tmp_path.name, 0, 0.0, 0, 0)


@pytest.mark.parametrize("text", ["", "seqLength=3", "[Sequence]\nseqLength=many", "[Sequence]\nframeRate=-1", b"\xff"])
def test_a_description_that_says_nothing_is_an_error(tmp_path: Path, text: str | bytes) -> None:
    put(tmp_path / "seqinfo.ini", text)
    with pytest.raises(SourceOpenError, match=r"seqinfo\.ini' "):
        sequence_info(tmp_path / "det.txt")
