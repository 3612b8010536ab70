from streamtrack.benching.results import Agreement
from streamtrack.benching.tables import Table, agreed, aligned, tables

from .samples import make_report


def test_a_report_in_three_tables() -> None:
    cases, pipelines, capacity = tables(make_report())
    assert [row[:6] for row in cases.rows] == [
        ("onnx cpu", "squares", "320x192", "1", "1", "10.00"),
        ("onnx cpu", "squares", "320x192", "2", "1", "6.00"),
    ]
    assert list(cases.notes) == [
        "tensorrt cpu: needs a GPU",
        "failed: onnx cpu, squares, 640 px, 1 thread, batch 1: crashed: killed by SIGSEGV",
    ]
    assert pipelines.columns[-3:] == ("decode", "detect", "track")
    assert pipelines.rows[0][2:4] == ("200.0", "40.0")
    assert capacity.heading == "30 fps streams held at p95=200ms"
    assert capacity.rows[0][2:5] == ("4", "160", "200")


def test_nothing_measured_is_no_table() -> None:
    assert list(tables(make_report(cases=[], pipelines=[], capacity=[], runtimes=[]))) == []


def test_numbers_stand_to_the_right() -> None:
    table = Table("head", ("name", "ms", "note"), [("a", "1.5", "x"), ("long", "-", "yy")], ("below",))
    assert aligned(table) == ["head", "name   ms  note", "a     1.5  x", "long    -  yy", "below"]


def test_agreement_in_short() -> None:
    def found(expected: int, missing: int, drift: float | None) -> str:
        return agreed(
            Agreement(expected=expected, missing=missing, extra=0, mean_iou=None, worst_iou=None, max_score_drift=drift)
        )

    assert agreed(None) == "-"
    assert found(0, 0, None) == "nothing found"
    assert found(9, 0, 1e-7) == "all 9"
    assert found(9, 0, 0.0123) == "all 9, score +-0.012"
    assert found(9, 2, 0.1) == "2 of 9 missing, 0 more"
