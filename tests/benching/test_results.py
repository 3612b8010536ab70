from pathlib import Path

import pytest

from streamtrack.benching.results import load, save
from streamtrack.errors import ConfigError, SinkError

from .samples import make_case, make_report


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    report = make_report()
    save(report, tmp_path / "bench.json")
    assert load(tmp_path / "bench.json") == report
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_a_case_in_words() -> None:
    assert make_case().label == "onnx cpu, squares, 320 px, 1 thread, batch 1"
    case = make_case(provider="cuda", device="cuda", precision="fp16", size=0, threads=0, batch=8)
    assert case.label == "onnx:cuda cuda fp16, squares, own size, threads auto, batch 8"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not a report"),
        ("[]", "is not a report"),
        ('{"schema_version": 1}', "missing required field"),
        ('{"schema_version": 99}', "has schema_version 99; this streamtrack reads 1"),
    ],
)
def test_what_is_no_report(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load(path)


def test_no_file_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.json cannot be read"):
        load(tmp_path / "absent.json")
    with pytest.raises(SinkError, match="Cannot write"):
        save(make_report(), tmp_path / "absent" / "bench.json")
