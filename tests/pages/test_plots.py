import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.pages.plots import Bar, Dot, Gate, bars, funnel, legend, scatter, stacked, ticks

SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


@given(st.floats(1e-6, 1e9))
def test_ticks_are_few_and_reach_the_top(top: float) -> None:
    found = ticks(top)
    assert found[0] == 0
    assert found[-2] < top <= found[-1] * (1 + 1e-6)
    assert 3 <= len(found) <= 7


@pytest.mark.parametrize("top", [0.0, -1.0, float("nan"), float("inf")])
def test_ticks_of_nothing(top: float) -> None:
    assert ticks(top) == [0.0, 1.0]


def test_a_bar_is_as_long_as_its_value() -> None:
    picture = ElementTree.fromstring(bars([Bar("a < b", (50.0, 75.0, 100.0), "x"), Bar("b", (100.0,), "y", 1)], "ms"))
    widths = [float(rect.attrib["width"]) for rect in picture.iter("rect")]
    assert widths[1] == pytest.approx(2 * widths[0])
    assert [text.text for text in picture.iter("text") if text.get("class") == "label"] == ["a < b", "b"]
    assert [rect.attrib["class"] for rect in picture.iter("rect")] == ["c0", "c1"]


def test_parts_of_a_stack_follow_each_other() -> None:
    (drawn,) = SVG.findall(stacked([Bar("a", (1.0, 2.0, 3.0), "x")], ["p", "q", "r"], "ms"))
    rects = [rect.attrib for rect in ElementTree.fromstring(drawn).iter("rect")]
    for left, right in itertools.pairwise(rects):
        assert float(left["x"]) + float(left["width"]) == pytest.approx(float(right["x"]), abs=0.2)
    assert float(rects[2]["width"]) == pytest.approx(3 * float(rects[0]["width"]), abs=0.5)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), min_size=1, max_size=20))
def test_points_stay_in_the_picture(points: list[tuple[float, float]]) -> None:
    drawn = scatter([Dot(x, y, "t") for x, y in points], "x & y", "y", line=50.0, joined=True)
    circles = [circle.attrib for circle in ElementTree.fromstring(drawn).iter("circle")]
    assert len(circles) == len(points)
    assert all(0 <= float(c["cx"]) <= 960 and 0 <= float(c["cy"]) <= 340 for c in circles)


def test_a_legend_names_colours() -> None:
    assert legend(["a & b"]) == '<ul class="legend"><li><i class="c0"></i>a &amp; b</li></ul>'


@given(st.integers(1, 10**9), st.lists(st.floats(0, 1), max_size=6))
def test_each_gate_of_a_funnel_begins_where_the_one_before_it_ended(total: int, shares: list[float]) -> None:
    left, gates = total, []
    for share in shares:
        gates.append(Gate("a & b", round(left * share), "x.y = 1"))
        left -= gates[-1].refused
    picture = ElementTree.fromstring(funnel(total, ("given", "kept"), gates))
    first, *pairs, last = (rect.attrib for rect in picture.iter("rect"))
    end = float(first["x"]) + float(first["width"])
    for solid, faint in zip(pairs[::2], pairs[1::2], strict=True):
        assert "faint" in faint["class"]
        assert float(faint["x"]) + float(faint["width"]) == pytest.approx(end, abs=0.2)
        end = float(solid["x"]) + float(solid["width"])
        assert end == pytest.approx(float(faint["x"]), abs=0.2)
    assert float(last["x"]) + float(last["width"]) == pytest.approx(end, abs=0.2)
    assert [text.text for text in picture.iter("text")][-2:] == ["kept", f"{left:,}"]
