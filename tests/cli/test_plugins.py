"""``streamtrack plugins`` lists what works, and says why what does not work does not."""

from __future__ import annotations

import json

import pytest

from streamtrack import cli, registry
from streamtrack.registry import Plugin

FOUND = [
    Plugin("sources", "pyav", "streamtrack.sources.pyav:PyAVSource", "streamtrack 0.1.0", None),
    Plugin("sinks", "mqtt", "my_package:MqttSink", "my-package 2.0", "No module named 'paho'. pip install paho-mqtt."),
]


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "plugins", lambda: FOUND)


def test_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "source   pyav       streamtrack.sources.pyav:PyAVSource  (streamtrack 0.1.0)",
        "sink     mqtt       broken: No module named 'paho'. pip install paho-mqtt.",
    ]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [plugin._asdict() for plugin in FOUND]
