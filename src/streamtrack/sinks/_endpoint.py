"""Where a broker is, read from a URL whose password nobody may see."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from streamtrack.errors import ConfigError, PluginError


class Endpoint(NamedTuple):
    """The parts of a URL."""

    scheme: str
    host: str
    port: int
    path: str
    """With its query, as it stands in the URL; may be secret."""
    username: str
    password: str

    @property
    def place(self) -> str:
        """Scheme, host and port: what may be shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def read_endpoint(option: str, url: str, ports: Mapping[str, int]) -> Endpoint:
    """Return the parts of ``url``.

    Args:
        option: where it was given, such as ``redis.url``.
        url: with user name and password percent-encoded.
        ports: the port that each known scheme has by default.

    Raises:
        ConfigError: it is missing or no such URL; the message does not repeat it.
    """
    wanted = " or ".join(f"{scheme}://" for scheme in ports)
    if not url:
        raise ConfigError(f"Option {option} is missing: a URL that begins with {wanted}; see docs/streams.md.")
    problem = f"Option {option} is not a URL that begins with {wanted} and a host"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        # The message of the error would hold the URL.
        raise ConfigError(f"{problem}; what is special in a password must be percent-encoded.") from error
    if parts.scheme not in ports or not parts.hostname:
        raise ConfigError(f"{problem}.")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Endpoint(parts.scheme, parts.hostname, port or ports[parts.scheme], path, user, password)


_DISTRIBUTIONS: Final = {"redis": "redis", "nats": "nats-py", "paho": "paho-mqtt", "confluent_kafka": "confluent-kafka"}


def require_client(sink: str, module: str) -> None:
    """Make sure that the client of a broker is installed, without importing it.

    Raises:
        PluginError: it is not; says how to install it.
    """
    if importlib.util.find_spec(module) is None:
        raise PluginError(
            f"The sink '{sink}' needs {_DISTRIBUTIONS[module]}, which is not installed: "
            f"pip install 'streamtrack[{sink}]'."
        )
