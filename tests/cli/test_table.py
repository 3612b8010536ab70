"""Columns of a table stand below each other."""

from __future__ import annotations

from streamtrack.cli._table import aligned


def test_names_to_the_left_and_numbers_to_the_right() -> None:
    rows = [["name", "n", "share"], ["a", "1000", "0.5"], ["longer", "1", "12.25"]]
    assert aligned(rows).splitlines() == ["name       n  share", "a       1000    0.5", "longer     1  12.25"]
    assert aligned(rows, left=0).splitlines()[1] == "     a  1000    0.5"


def test_no_line_ends_in_blanks() -> None:
    assert aligned([["a", "b"], ["longer", ""]], left=2).splitlines() == ["a       b", "longer"]
