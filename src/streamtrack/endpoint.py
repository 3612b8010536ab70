"""A small HTTP server beside a run: ``/metrics`` for Prometheus and ``/healthz`` for whoever restarts things.

The formats are those of ``prometheus_client``: the text format 0.0.4, or OpenMetrics where ``Accept`` asks for it. The
library is imported only by a run that serves metrics.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from streamtrack.errors import PluginError, SinkError
from streamtrack.exposition import Exposition
from streamtrack.threads import ThreadGroup

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_log = logging.getLogger("streamtrack")
_POLL_S: Final = 0.1
_PATIENCE_S: Final = 5.0
"""How long a client may take to say what it wants."""
_MOST_CLIENTS: Final = 16
_INDEX: Final = b"streamtrack: /metrics for Prometheus, /healthz for health\n"


class MetricsEndpoint:
    """Serves the metrics of one run from ``open`` to ``close``.

    Args:
        exposition: the run.
        host: name or address of an interface of this machine.
        port: TCP port; 0 for any that is free, None for no server.
        say: told in one line where it answers.
    """

    def __init__(self, exposition: Exposition, host: str, port: int | None, say: Callable[[str], None]) -> None:
        self._exposition, self._host, self._port, self._say = exposition, host, port, say
        self._server: _Server | None = None
        # What goes wrong in one answer is that client's alone.
        self._group = ThreadGroup(on_error=lambda: None)

    @property
    def url(self) -> str:
        """Where it answers, once it is open."""
        assert self._server is not None
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def open(self) -> None:
        """Bind the port and begin to answer.

        Raises:
            SinkError: the port is taken, or the host is none of this machine's.
            PluginError: prometheus_client is not installed.
        """
        if self._port is None:
            return
        registry = _registry(self._exposition)
        try:
            family, *_, address = socket.getaddrinfo(self._host or "0.0.0.0", self._port, type=socket.SOCK_STREAM)[0]
            self._server = _Server(family, address, registry, self._exposition)
        except (OSError, UnicodeError) as error:
            raise SinkError(_refusal(self._host, self._port, error)) from error
        server = self._server
        self._group.start("metrics", lambda: server.serve_forever(_POLL_S))
        exposed = "" if _is_loopback(str(server.server_address[0])) else ", for everybody who reaches this machine"
        self._say(f"metrics at {self.url}/metrics{exposed}")

    def close(self) -> None:
        """Answer nobody any more; may be called again, or without a successful ``open``."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.hang_up()
            server.server_close()
            self._group.join()


def _registry(exposition: Exposition) -> CollectorRegistry:
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector
    except ImportError as error:
        raise PluginError(
            "Metrics for Prometheus need the package prometheus-client: pip install 'streamtrack[metrics]'."
        ) from error
    registry = CollectorRegistry()
    # What is registered is only asked later: there is no run yet that could be described.
    registry.register(exposition)
    ProcessCollector(registry=registry)
    return registry


def _refusal(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        reason = "the port is taken by another program: choose another with --metrics-port, or 0 for any that is free"
    elif number == errno.EACCES:
        reason = "the port needs privileges: choose one above 1023 with --metrics-port"
    else:
        told = getattr(error, "strerror", None) or str(error)
        reason = f"{told}: name an interface of this machine with --metrics-host"
    return f"Metrics cannot be served at {host}:{port}: {reason}."


def _is_loopback(address: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return False


class _Server(ThreadingHTTPServer):
    # Threads of clients are joined when the server is closed, and none can hold that up: see hang_up.
    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, family: int, address: Any, registry: CollectorRegistry, exposition: Exposition) -> None:
        self.address_family = family
        self.registry, self.exposition = registry, exposition
        self._clients: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks a name server who we are.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def verify_request(self, request: Any, client_address: Any) -> bool:
        if len(self._clients) >= _MOST_CLIENTS:
            return False
        self._clients.add(request)
        return True

    def shutdown_request(self, request: Any) -> None:
        self._clients.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is no news; anything else is a mistake of ours, and the run shall not end for it.
        if not isinstance(sys.exception(), OSError):
            _log.exception("metrics could not be served")

    def hang_up(self) -> None:
        """End every conversation, those with silent clients too."""
        for client in list(self._clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE_S
    server_version, sys_version = "streamtrack", ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            from prometheus_client.exposition import choose_encoder

            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(self.server.registry), kind)
        elif path == "/healthz":
            health = self.server.exposition.health()
            self._answer(200 if health.good else 503, f"{health.reason}\n".encode())
        elif path == "/":
            self._answer(200, _INDEX)
        else:
            self._answer(404, _INDEX)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a scrape every few seconds is no news."""
