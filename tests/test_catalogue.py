"""What the structs of the settings say about each setting."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack import catalogue
from streamtrack.settings import Config

SETTINGS = catalogue.settings()


def test_every_setting_is_there_with_its_default() -> None:
    built = {f"{s}.{n}": value for s, keys in msgspec.to_builtins(Config()).items() for n, value in keys.items()}
    assert {key: setting.default for key, setting in SETTINGS.items()} == built
    assert list(SETTINGS) == [f"{s}.{name}" for s, names in catalogue.sections().items() for name in names]
    assert [key for key, each in SETTINGS.items() if each.read(each.default) != each.default] == []


def test_every_setting_and_section_has_a_meaning() -> None:
    for section, names in catalogue.sections().items():
        assert set(catalogue.meanings(section)) == set(names)
        assert catalogue.purpose(section).endswith(".")
    texts = [catalogue.meaning(key) for key in SETTINGS]
    assert [text for text in texts if not text[0].isalnum() or len(text.split()) < 3 or "`" in text] == []
    assert catalogue.meaning("source.stride") == "Look at frames 0, stride, 2 stride, ... in presentation order"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("source.stride", "1 or more"),
        ("source.fps", "0 fps or more"),
        ("tracker.max_gap_s", "above 0 s"),
        ("scene.cut_threshold", "above 0 and at most 1"),
        ("tracker.high_thresh", "0 to 1"),
        ("runtime.precision", "one of auto, fp32, fp16, int8"),
        ("detector.model", ""),
    ],
)
def test_a_range_in_words(key: str, text: str) -> None:
    assert SETTINGS[key].range == text


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("source.stride", "2", 2),
        ("source.stride", 2.0, 2),
        ("tracker.max_gap_s", 2, 2.0),
        ("scene.cuts", "off", False),
        ("scene.cuts", 1, True),
        ("detector.head", "null", None),
        ("detector.head", None, None),
        ("detector.classes", "yes", "yes"),
        ("detector.model", "[a", "[a"),
        ("tracker.mode", "reference", "reference"),
    ],
)
def test_a_value_is_read_as_the_setting_has_it(key: str, value: object, expected: object) -> None:
    found = SETTINGS[key].read(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("source.stride", 0, "it must be 1 or more"),
        ("source.stride", 2.5, "it must be a whole number"),
        ("source.stride", True, "it must be a whole number"),
        ("source.stride", "nan", "it must be a whole number"),
        ("tracker.max_gap_s", 0, "it must be above 0 s"),
        ("tracker.max_gap_s", float("nan"), "it must be a finite number"),
        ("tracker.max_gap_s", "1e999", "it must be a finite number"),
        ("tracker.max_gap_s", [1], "it must be a number"),
        ("tracker.mode", "tme", "it must be one of time, reference. Did you mean 'time'?"),
        ("scene.cuts", "maybe", "it must be true or false"),
        ("scene.cuts", 2, "it must be true or false"),
        ("detector.model", None, "it must have a value"),
        ("detector.model", False, "it must be text; write 'False' in quotes"),
        ("crops.min_confidence", "110%", "it must be 0 to 1"),
    ],
)
def test_what_does_not_fit_says_why(key: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match="it must") as caught:
        SETTINGS[key].read(value)
    assert str(caught.value) == words


@given(st.sampled_from(sorted(SETTINGS)), st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text()))
def test_whatever_is_given_is_read_as_msgspec_would_have_it_or_refused_in_words(key: str, value: object) -> None:
    setting = SETTINGS[key]
    try:
        found = setting.read(value)
    except ValueError:
        return
    converted = msgspec.convert({setting.section: {setting.name: found}}, Config)
    assert getattr(getattr(converted, setting.section), setting.name) == found


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("scene.cuts", True, "on"),
        ("detector.head", None, "-"),
        ("detector.classes", "", "-"),
        ("tracker.max_gap_s", 2.5, "2.5 s"),
        ("source.stride", 5, "5"),
        ("detector.model", "auto", "auto"),
    ],
)
def test_a_value_for_people(key: str, value: object, text: str) -> None:
    assert SETTINGS[key].shown(value) == text


def documented() -> list[str]:
    """The table of all settings as ``docs/settings.md`` has it."""
    lines = []
    for section, names in catalogue.sections().items():
        lines += [
            f"**{section}**: {catalogue.purpose(section)}",
            "",
            "| setting | default | range | what |",
            "|---|---|---|---|",
        ]
        for name in names:
            each = SETTINGS[f"{section}.{name}"]
            told = catalogue.meanings(section)[name].replace("|", "\\|")
            lines.append(f"| `{each.key}` | {each.shown(each.default)} | {each.range or '-'} | {told} |")
        lines.append("")
    return lines[:-1]


PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEADING = "## All settings\n\n"


def test_the_documentation_lists_every_setting_as_it_is() -> None:
    shown = PAGE.read_text(encoding="utf-8").partition(HEADING)[2].splitlines()
    # Where this fails, run this file as a program: it writes the table.
    assert [line for line in documented() if line not in shown] == []
    assert shown == documented()


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.partition(HEADING)[0] + HEADING + "\n".join(documented()) + "\n", encoding="utf-8")
