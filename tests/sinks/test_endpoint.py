"""URLs of brokers, and clients that are not installed."""

from __future__ import annotations

import pytest

from streamtrack.errors import ConfigError, PluginError
from streamtrack.sinks._endpoint import Endpoint, read_endpoint, require_client

PORTS = {"redis": 6379, "rediss": 6380}


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("redis://host", Endpoint("redis", "host", 6379, "", "", "")),
        ("rediss://me:p%40ss@host:1/2?x=3", Endpoint("rediss", "host", 1, "/2?x=3", "me", "p@ss")),
        ("redis://[::1]", Endpoint("redis", "::1", 6379, "", "", "")),
    ],
)
def test_a_url_is_read(url: str, endpoint: Endpoint) -> None:
    assert read_endpoint("redis.url", url, PORTS) == endpoint


def test_what_may_be_shown_holds_no_secret() -> None:
    endpoint = read_endpoint("redis.url", "redis://me:hunter2@[::1]/token", PORTS)
    assert endpoint.place == "redis://[::1]:6379"


@pytest.mark.parametrize(
    "url", ["", "host:6379", "http://u:hunter2@host", "redis://u:hunter2@:1", "redis://u:hunter2#x@host:y"]
)
def test_what_is_no_such_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url .*redis:// or rediss://") as caught:
        read_endpoint("redis.url", url, PORTS)
    assert "hunter2" not in str(caught.value)


def test_a_missing_client_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PluginError, match=r"'mqtt' needs paho-mqtt.*pip install 'streamtrack\[mqtt\]'"):
        require_client("mqtt", "paho")
