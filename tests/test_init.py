"""The public names exist, come from where the type checker believes, and arrive on first use."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import streamtrack


def test_every_public_name_resolves() -> None:
    assert sorted(streamtrack.__all__) == dir(streamtrack)
    for name in streamtrack.__all__:
        assert getattr(streamtrack, name) is not None


def test_the_type_checker_sees_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(streamtrack.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(seen) == set(streamtrack.__all__)
    for name, module in seen.items():
        assert module
        assert getattr(streamtrack, name) is getattr(importlib.import_module(module), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'streamtrack' has no attribute 'Pipelin'"):
        streamtrack.Pipelin  # noqa: B018
