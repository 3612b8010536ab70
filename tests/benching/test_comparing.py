import numpy as np
import pytest

from streamtrack.benching.comparing import FLOOR, compare
from streamtrack.benching.figures import spreads
from streamtrack.benching.results import CaseResult

from .samples import make_capacity, make_case, make_figures, make_pipeline, make_report, make_result


def test_a_report_does_not_differ_from_itself() -> None:
    found = compare(make_report(), make_report())
    assert {change.verdict for change in found.changes} == {"same"}
    assert {change.ratio for change in found.changes} == {1.0}
    assert found[1:] == ([], [], [], [])


def test_what_moved_and_which_way() -> None:
    before = make_report(cases=[make_result(10.0)], pipelines=[make_pipeline(200.0)], capacity=[make_capacity(4)])
    after = make_report(cases=[make_result(5.0)], pipelines=[make_pipeline(100.0)], capacity=[make_capacity(6)])
    moved = {(c.figure, round(c.ratio, 3), c.verdict) for c in compare(before, after).changes if c.verdict != "same"}
    assert moved == {
        ("p50_ms", 0.5, "better"), ("p95_ms", 0.5, "better"), ("fps", 2.0, "better"), ("source_fps", 0.5, "worse"),
        ("streams", 1.5, "better"),
    }  # fmt: skip


@pytest.mark.parametrize(("spread", "verdict"), [(0.0, "worse"), (0.03, "worse"), (0.06, "same")])
def test_noise_is_what_both_reports_know_of_it(spread: float, verdict: str) -> None:
    found = compare(make_report(cases=[make_result(10.0, spread)]), make_report(cases=[make_result(11.0, spread)]))
    (p50,) = (change for change in found.changes if change.figure == "p50_ms")
    assert p50.verdict == verdict
    assert p50.noise == max(FLOOR, 2 * spread)


def test_chance_alone_is_seldom_called_a_change() -> None:
    draw, false = np.random.default_rng(5), 0
    for _ in range(400):
        runs = draw.normal(10.0, 0.5, (2, 3))
        reports = []
        for rounds in runs.tolist():
            case = CaseResult(case=make_case(), outcome="ok", figures=make_figures(sum(rounds) / 3))
            case.spread = spreads([{"p50_ms": value} for value in rounds])
            reports.append(make_report(cases=[case], pipelines=[], capacity=[]))
        (p50,) = (change for change in compare(*reports).changes if change.figure == "p50_ms")
        false += p50.verdict != "same"
    assert false < 0.05 * 400


def test_one_stream_more_is_chance() -> None:
    found = compare(make_report(capacity=[make_capacity(4)]), make_report(capacity=[make_capacity(5)]))
    assert [change.verdict for change in found.changes if change.figure == "streams"] == ["same"]


def test_what_broke_what_is_new_and_what_is_gone() -> None:
    failed = CaseResult(case=make_case(), outcome="failed", reason="crashed")
    before = make_report(cases=[make_result(), make_result(batch=2), make_result(batch=3)], pipelines=[], capacity=[])
    after = make_report(cases=[failed, make_result(batch=2, missing=3), make_result(batch=4)], capacity=[])
    found = compare(before, after)
    assert found.broken == [
        "onnx cpu, squares, 320 px, 1 thread, batch 1",
        "onnx cpu, squares, 320 px, 1 thread, batch 2: 3 boxes differ from the reference, 0 before",
    ]
    assert found.only_before == ["onnx cpu, squares, 320 px, 1 thread, batch 3"]
    assert found.only_after == ["onnx cpu, squares, 320 px, 1 thread, batch 4", "profile balanced"]


def test_reports_that_should_not_be_compared_say_so() -> None:
    machine = make_report().machine | {"processor": "another"}
    found = compare(make_report(), make_report(machine=machine, clip="other", status="interrupted"))
    assert [warning.partition(" ")[2][:18] for warning in found.warnings] == [
        "processor differs:", "clip differs: a cl", "second report is n",
    ]  # fmt: skip
