"""Numbers with a unit: what may be written, and what is said about the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack import catalogue, units

NAMES = ("", "s", "px", "px^2", "fps", "source frames", "frames looked at", "processed frames")


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("2500ms", "s", 2.5),
        ("2.5s", "s", 2.5),
        ("2.5", "s", 2.5),
        (" 1 min ", "s", 60),
        ("1.5h", "s", 5400),
        ("250us", "s", 0.00025),
        ("250µs", "s", 0.00025),
        ("250\u03bcs", "s", 0.00025),
        ("250 \u039cS", "s", 0.00025),
        ("64px", "px", 64),
        ("64 Pixels", "px", 64),
        ("100 px^2", "px^2", 100),
        ("30fps", "fps", 30),
        ("29.97 Hz", "fps", 29.97),
        ("30/min", "fps", 0.5),
        ("90 frames", "frames looked at", 90),
        ("90 source  frames", "source frames", 90),
        ("75%", "", 0.75),
        ("1_000", "", 1000),
        ("-1e-3", "", -0.001),
        (".5", "", 0.5),
    ],
)
def test_what_is_read(text: str, unit: str, expected: float) -> None:
    assert units.read_number(text, unit) == expected


@pytest.mark.parametrize(
    ("text", "unit", "words"),
    [
        ("5 sek", "s", "'sek' is no unit for it. Did you mean 'sec'? It is a time, in ms, s, min or h"),
        ("5 px", "s", "'px' does not measure it: it is a time, in ms, s, min or h"),
        ("2s", "frames looked at", "'s' does not measure it: it is a number of frames looked at"),
        ("64 pixls", "px", "'pixls' is no unit for it. Did you mean 'pixels'? It is a length in pixels, in px"),
        ("8 px", "", "'px' does not measure it: it is a plain number or a percentage"),
        ("fast", "fps", "it must be a rate, in fps or /min"),
        ("", "s", "it must be a time, in ms, s, min or h"),
        ("many", "source frames", "it must be a number of source frames"),
        ("many", "", "it must be a number"),
        ("2,5s", "s", "',5s' is no unit for it"),
    ],
)
def test_what_is_refused(text: str, unit: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        units.read_number(text, unit)
    assert words in str(caught.value)


def test_what_is_counted_is_no_percentage() -> None:
    assert units.spellings("", whole=True) == ()
    with pytest.raises(ValueError, match=r"'%' is no unit for it\. It is a plain number, without a unit"):
        units.read_number("50%", "", whole=True)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(NAMES))
def test_a_number_alone_is_read_as_it_is(number: float, unit: str) -> None:
    assert units.read_number(repr(number), unit) == number


@given(st.integers(0, 10**9), st.sampled_from(NAMES), st.data())
def test_every_spelling_is_read_whatever_its_case(number: int, unit: str, data: st.DataObject) -> None:
    spelling = data.draw(st.sampled_from(units.spellings(unit)))
    assert units.read_number(f"{number} {spelling}", unit) == units.read_number(f"{number}{spelling.upper()}", unit)


@given(st.integers(0, 10**9))
def test_a_thousand_ms_are_a_second(number: int) -> None:
    assert units.read_number(f"{number}ms", "s") == number / 1000


def test_every_unit_of_a_setting_is_known() -> None:
    assert {setting.unit for setting in catalogue.settings().values()} <= set(NAMES)
