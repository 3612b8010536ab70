"""What the gate found is found again: under the same circumstances, and only if it holds."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streamtrack.models.verdicts import ParityMetrics, Verdict, Verdicts, key_of


def found(verdict: Verdict = "agreed", **more: float) -> ParityMetrics:
    return ParityMetrics(verdict=verdict, backend="toy", device="cuda", precision="fp16", boxes=7, **more)


def test_what_was_kept_is_recalled_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "parity.json"
    Verdicts(path).keep("a", found("slower", ms=7.0, reference_ms=1.0))
    assert Verdicts(path).recall("a") == found("slower", ms=7.0, reference_ms=1.0, remembered=True)
    assert Verdicts(path).recall("b") is None
    assert [entry.name for entry in path.parent.iterdir()] == ["parity.json"]


@pytest.mark.parametrize("verdict", ["drifted", "failed", "unchecked"])
def test_what_need_not_hold_is_asked_again(tmp_path: Path, verdict: Verdict) -> None:
    verdicts = Verdicts(tmp_path / "parity.json")
    verdicts.keep("a", found(verdict))
    assert verdicts.recall("a") is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"schema_version": 2, "verdicts": {}}', b'{"verdicts": {"a": 1}}']
)
def test_a_file_that_is_damaged_or_of_another_version_is_no_verdict(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "parity.json"
    path.write_bytes(content)
    assert Verdicts(path).recall("a") is None
    Verdicts(path).keep("a", found())
    assert Verdicts(path).recall("a") == found(remembered=True)


def test_nothing_is_remembered_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (None, tmp_path / "file" / "parity.json"):
        Verdicts(path).keep("a", found())
        assert Verdicts(path).recall("a") is None


def test_the_oldest_of_too_many_go(tmp_path: Path) -> None:
    path = tmp_path / "parity.json"
    many = {"schema_version": 1, "verdicts": {str(n): found() for n in range(200)}}
    path.write_bytes(msgspec.json.encode(many))
    Verdicts(path).keep("0", found("slower"))
    Verdicts(path).keep("new", found())
    verdicts = Verdicts(path)
    assert verdicts.recall("1") is None
    assert [bool(verdicts.recall(key)) for key in ("0", "2", "new")] == [True] * 3


def test_a_key_depends_on_every_fact_and_on_where_one_ends() -> None:
    keys = [key_of("a", "bc"), key_of("ab", "c"), key_of("abc"), key_of("a", "bd"), key_of("bc", "a"), key_of("a", 1)]
    assert len(set(keys)) == len(keys)
    assert key_of("a", 1) == key_of("a", "1")
