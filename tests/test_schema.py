"""The schema of a profile accepts what the program accepts, says what each setting is, and refuses other keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from streamtrack import catalogue, config
from streamtrack.schema import profile_schema

PROFILES = sorted((Path(__file__).resolve().parent.parent / "profiles").glob("*.yaml"))
SCHEMA = profile_schema()
KINDS = {
    "object": dict,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": int,
}


def errors(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """Check as much of draft 2020-12 as the schema uses."""
    known = {
        "$schema",
        "title",
        "description",
        "default",
        "type",
        "enum",
        "anyOf",
        "properties",
        "additionalProperties",
    }
    assert set(schema) - known <= {"minimum", "maximum", "exclusiveMinimum", "pattern"}
    if "anyOf" in schema and all(errors(value, each) for each in schema["anyOf"]):
        return [f"{where}: {value!r} is none of these"]
    kinds = schema.get("type", list(KINDS))
    allowed = [KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    if not any(isinstance(value, kind) for kind in allowed) or (isinstance(value, bool) and bool not in allowed):
        return [f"{where}: {value!r} is no {kinds}"]
    found = [f"{where}: not one of"] if value not in schema.get("enum", [value]) else []
    if isinstance(value, int | float):
        low, high, above = (schema.get(name) for name in ("minimum", "maximum", "exclusiveMinimum"))
        out = (low is not None and value < low) or (high is not None and value > high)
        found += [f"{where}: out of range"] if out or (above is not None and value <= above) else []
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{where}: {value!r} has another form")
    if isinstance(value, dict):
        properties = schema["properties"]
        found += [f"{where}.{key}: unknown" for key in value if key not in properties]
        found += [e for k, v in value.items() if k in properties for e in errors(v, properties[k], f"{where}.{k}")]
    return found


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_is_valid(path: Path) -> None:
    assert errors(yaml.safe_load(path.read_text(encoding="utf-8")), SCHEMA) == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("sauce: {}", ".sauce: unknown"),
        ("source: {strid: 5}", ".source.strid: unknown"),
        ("source: {stride: 0}", "out of range"),
        ("source: {stride: 2.5}", "is no integer"),
        ("source: {stride: true}", "is no integer"),
        ("source: 5", "is no"),
        ("tracker: {max_gap_s: 5 sek}", "is none of these"),
        ("tracker: {max_gap_s: 0}", "is none of these"),
        ("tracker: {mode: fast}", "not one of"),
        ("detector: {model: 5}", "is no string"),
        ("[1]", "is no"),
    ],
)
def test_what_is_wrong_is_refused(text: str, word: str) -> None:
    found = errors(yaml.safe_load(text), SCHEMA)
    assert len(found) == 1
    assert word in found[0]


@pytest.mark.parametrize(
    "text",
    ["", "tracker: {max_gap_s: 2500ms}", "detector: {min_size: 64 px, head: null}", "crops: {pad: 15%}", "crops:"],
)
def test_what_is_right_is_accepted(text: str) -> None:
    assert errors(yaml.safe_load(text), SCHEMA) == []


@given(st.sampled_from(sorted(catalogue.settings())), st.one_of(st.booleans(), st.integers(-9, 9), st.floats(-2, 2)))
def test_it_accepts_the_numbers_that_the_program_accepts(key: str, value: float) -> None:
    setting = catalogue.settings()[key]
    shape = SCHEMA["properties"][setting.section]["properties"][setting.name]
    try:
        setting.read(value)
    except ValueError:
        assert errors(value, shape)
    else:
        # The program reads 1 as on, and 2.0 as 2; an editor may be stricter.
        assert not errors(value, shape) or setting.kind is bool or value == int(value)


def test_it_tells_what_each_setting_is_and_is_json() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"].endswith("/draft/2020-12/schema")
    gap = SCHEMA["properties"]["tracker"]["properties"]["max_gap_s"]
    assert gap["description"] == (
        "A track without a detection is kept for so many seconds; the shorter of this and track_buffer binds. "
        "In s, above 0 s."
    )
    assert gap["default"] == 2.5
    assert gap["anyOf"][0] == {"type": "number", "exclusiveMinimum": 0}
    for key, setting in catalogue.settings().items():
        shape = SCHEMA["properties"][setting.section]["properties"][setting.name]
        assert shape["description"].startswith(catalogue.meaning(key))
        assert errors(setting.default, shape) == []


def test_the_profile_in_the_documentation_is_valid(tmp_path: Path) -> None:
    page = (PROFILES[0].parent.parent / "docs" / "settings.md").read_text(encoding="utf-8")
    text = page.partition("```yaml\n")[2].partition("```")[0]
    assert errors(yaml.safe_load(text), SCHEMA) == []
    (tmp_path / "door.yaml").write_text(text, encoding="utf-8")
    resolved = config.resolve(str(tmp_path / "door.yaml"), environ={})
    assert (resolved.config.source.fps, resolved.config.source.max_staleness_s) == (6, 0.3)
    assert config.about(str(tmp_path / "door.yaml")) == "Use this for the camera at the door."
