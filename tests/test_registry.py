"""Plug-ins come through entry points; a broken one is fatal only if it is chosen."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from streamtrack import registry
from streamtrack.errors import PluginError


def test_the_built_in_ones_use_the_same_door() -> None:
    from streamtrack.sinks.jsonl import JsonlSink

    assert registry.load("sinks", "jsonl") is JsonlSink
    names = {(plugin.kind, plugin.name) for plugin in registry.plugins()}
    assert {("sources", "pyav"), ("backends", "onnx"), ("sinks", "crops")} <= names


def test_every_installed_plugin_imports() -> None:
    assert [plugin for plugin in registry.plugins() if plugin.error] == []


def test_an_unknown_name_lists_the_others() -> None:
    with pytest.raises(PluginError, match=r"no sink 'jsnl'. Did you mean 'jsonl'\? Installed sinks: .*stdout"):
        registry.load("sinks", "jsnl")


def test_a_broken_one_is_listed_with_its_reason_and_fatal_only_if_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("mqtt", "not_installed_anywhere.sink:Sink", "streamtrack.sinks")
    monkeypatch.setattr(registry, "_group", lambda kind: {"mqtt": broken} if kind == "sinks" else {})
    (plugin,) = registry.plugins()
    assert "pip install not_installed_anywhere" in str(plugin.error)
    with pytest.raises(PluginError, match="cannot be imported: ModuleNotFoundError"):
        registry.load("sinks", "mqtt")
