"""The JSON schema (draft 2020-12) of a profile, for editors: what may stand in it, the ranges, and what it means."""

from __future__ import annotations

import re
from typing import Any

from streamtrack import catalogue, units
from streamtrack.catalogue import Setting

_NUMBER = r"[+-]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"


def profile_schema() -> dict[str, Any]:
    """Return the schema: sections of settings, each with its description, default, range and unit; no other keys."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A profile of streamtrack",
        "description": "Settings of a run, by section. What is left out keeps its default.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: _section(name, keys) for name, keys in catalogue.sections().items()},
    }


def _section(section: str, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "description": catalogue.purpose(section),
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: _property(catalogue.settings()[f"{section}.{name}"]) for name in names},
    }


def _property(setting: Setting) -> dict[str, Any]:
    told = catalogue.meanings(setting.section)[setting.name]
    limits = ", ".join(text for text in (setting.unit and f"In {setting.unit}", setting.range) if text)
    shape: dict[str, Any]
    if setting.kind is bool:
        shape = {"type": "boolean"}
    elif setting.kind is str:
        shape = {"type": ["string", "null"] if setting.optional else "string"}
    else:
        shape = _number(setting)
    if setting.choices:
        shape = {"enum": list(setting.choices)}
    return {"description": f"{told} {limits and limits + '.'}".strip(), "default": setting.default, **shape}


def _number(setting: Setting) -> dict[str, Any]:
    kind = "integer" if setting.kind is int else "number"
    bounds = {"minimum": setting.least, "maximum": setting.most, "exclusiveMinimum": setting.above}
    number = {
        "type": [kind, "null"] if setting.optional else kind,
        **{name: bound for name, bound in bounds.items() if bound is not None},
    }
    written = units.spellings(setting.unit, whole=setting.kind is int)
    if not written:
        return number
    # Whether a number with a unit is in range is for the program to say.
    behind = "|".join(re.escape(text).replace("\\ ", " ") for text in written)
    return {"anyOf": [number, {"type": "string", "pattern": rf"^\s*{_NUMBER}\s*({behind})?\s*$"}]}
