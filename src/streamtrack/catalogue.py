"""What each setting is: its type, unit, range, choices, default and meaning, read from the structs of the settings."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import math
import numbers
import re
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect as types

from streamtrack import units
from streamtrack.errors import did_you_mean
from streamtrack.settings import Config

_YES, _NO = ("true", "on", "yes", "1"), ("false", "off", "no", "0")
_NOTHING = ("", "null", "none", "~")


class Setting(NamedTuple):
    """One setting, as its struct declares it."""

    section: str
    name: str
    kind: type
    """``bool``, ``int``, ``float`` or ``str``."""
    default: Any
    unit: str = ""
    """As ``Meta(extra={"unit": ...})`` has it; "" for none."""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    """Where the least is not allowed itself."""
    choices: tuple[str, ...] = ()
    """Of text, where not everything may stand."""
    optional: bool = False
    """Whether it may be None."""

    @property
    def key(self) -> str:
        """``section.name``."""
        return f"{self.section}.{self.name}"

    @property
    def range(self) -> str:
        """The range in plain words; "" where everything may be."""
        unit = f" {self.unit}" if self.unit else ""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.above is not None:
            return f"above {self.above:g}{unit}" + (f" and at most {self.most:g}{unit}" if self.most else "")
        if self.most is not None:
            return f"{self.least:g} to {self.most:g}{unit}"
        return "" if self.least is None else f"{self.least:g}{unit} or more"

    def read(self, value: Any) -> Any:
        """Return ``value`` as the setting holds it; text may be a number with a unit.

        Raises:
            ValueError: why it does not fit, in words that go on after "does not fit:".
        """
        if value is None or (self.optional and isinstance(value, str) and value.strip().lower() in _NOTHING):
            if not self.optional:
                raise ValueError("it must have a value")
            return None
        if self.kind is bool:
            return _read_switch(value)
        if self.kind is str:
            return self._read_text(value)
        return self._read_number(value)

    def shown(self, value: Any, *, unit: bool = True) -> str:
        """Return a value for people."""
        if isinstance(value, bool):
            return "on" if value else "off"
        if value is None or value == "":
            return "-"
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        return f"{text} {self.unit}" if unit and self.unit else text

    def _read_text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"it must be text; write '{value}' in quotes")
        if self.choices and value not in self.choices:
            raise ValueError(f"it must be {self.range}.{did_you_mean(value, self.choices)}".rstrip("."))
        return value

    def _read_number(self, value: Any) -> float | int:
        whole = self.kind is int
        if isinstance(value, str):
            value = units.read_number(value, self.unit, whole=whole)
        elif isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError("it must be a whole number" if whole else "it must be a number")
        value = value if isinstance(value, numbers.Integral) else float(value)
        if not math.isfinite(value):
            raise ValueError("it must be a finite number")
        if whole and value != int(value):
            raise ValueError("it must be a whole number")
        low = self.least is not None and value < self.least
        if low or (self.above is not None and value <= self.above) or (self.most is not None and value > self.most):
            raise ValueError(f"it must be {self.range}")
        return int(value) if whole else float(value)


def _read_switch(value: Any) -> bool:
    text = str(value).strip().lower()
    if isinstance(value, bool | str | int) and text in (*_YES, *_NO):
        return text in _YES
    raise ValueError("it must be true or false")


@functools.cache
def settings() -> dict[str, Setting]:
    """Every setting by its key, in the order of the structs."""
    found = {}
    for section in Config.__struct_fields__:
        for field in _fields(section):
            setting = _described(section, field)
            found[setting.key] = setting
    return found


def sections() -> dict[str, tuple[str, ...]]:
    """The names of the settings of each section."""
    return {section: _struct(section).__struct_fields__ for section in Config.__struct_fields__}


def purpose(section: str) -> str:
    """Return what a section is about, as its struct says it."""
    return " ".join(inspect.cleandoc(_struct(section).__doc__ or "").split()).replace("``", "")


@functools.cache
def meanings(section: str) -> dict[str, str]:
    """Return all that the source says about each setting of a section."""
    found: dict[str, str] = {}
    for part in _struct(section).__mro__:
        if msgspec.Struct in part.__mro__[1:]:
            body = ast.parse(inspect.getsource(part)).body[0]
            assert isinstance(body, ast.ClassDef)
            for field, text in itertools.pairwise(body.body):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    words = " ".join(ast.literal_eval(text.value).replace("``", "").split())
                    found[ast.unparse(field.target)] = words
    return found


def meaning(key: str) -> str:
    """Return the first sentence about a setting, without its full stop."""
    section, _, name = key.partition(".")
    return re.split(r"\.(?= [A-Z]|$)", meanings(section).get(name, ""))[0]


def _fields(section: str) -> tuple[types.Field, ...]:
    info = types.type_info(_struct(section))
    assert isinstance(info, types.StructType)
    return info.fields


def _struct(section: str) -> type[msgspec.Struct]:
    (kind,) = (field.type for field in msgspec.structs.fields(Config) if field.name == section)
    assert isinstance(kind, type)
    assert issubclass(kind, msgspec.Struct)
    return kind


def _described(section: str, field: types.Field) -> Setting:
    kind, unit = field.type, ""
    if isinstance(kind, types.Metadata):
        unit, kind = str((kind.extra or {}).get("unit", "")), kind.type
    optional = isinstance(kind, types.UnionType)
    if isinstance(kind, types.UnionType):
        (kind,) = (each for each in kind.types if not isinstance(each, types.NoneType))
    setting = Setting(section, field.name, str, field.default, unit, optional=optional)
    if isinstance(kind, types.LiteralType):
        # In the order of the source: msgspec sorts them.
        return setting._replace(choices=_choices(section, field.name))
    if isinstance(kind, types.IntType | types.FloatType):
        number = int if isinstance(kind, types.IntType) else float
        return setting._replace(kind=number, least=kind.ge, most=kind.le, above=kind.gt)
    return setting._replace(kind=bool) if isinstance(kind, types.BoolType) else setting


def _choices(section: str, name: str) -> tuple[str, ...]:
    (kind,) = (each.type for each in msgspec.structs.fields(_struct(section)) if each.name == name)
    return tuple(kind.__args__)
