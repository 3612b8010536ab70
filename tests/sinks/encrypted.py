"""The brokers of ``brokers`` behind TLS, with certificates of an authority of their own that nobody else knows."""

from __future__ import annotations

import asyncio
import ssl
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import trustme
from brokers import Broker, KafkaMock, Mosquitto, Nats, Redis, WebServer, free_port


class Certificates:
    """PEM files in a folder.

    ``ca.pem`` is the authority of all but ``stranger.pem``, which is another; ``server`` is of 127.0.0.1, ``elsewhere``
    of another host, ``client`` of somebody; each has a ``.pem`` and a ``.key``, and a ``.both`` with both in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self["ca.pem"])
        trustme.CA().cert_pem.write_to_path(self["stranger.pem"])
        for name, identity in {"server": "127.0.0.1", "elsewhere": "elsewhere.test", "client": "me@home.test"}.items():
            issued = authority.issue_cert(identity)
            chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
            Path(self[f"{name}.pem"]).write_bytes(chain)
            issued.private_key_pem.write_to_path(self[f"{name}.key"])
            issued.private_key_and_cert_chain_pem.write_to_path(self[f"{name}.both"])

    def __getitem__(self, name: str) -> str:
        return str(self._folder / name)


class Secured:
    """How a broker shows itself. The URL of the sink changes with it, and what it is started with."""

    certificates: Certificates
    shows: str
    """Whose certificate."""
    asks: bool
    """Whether it wants one of its clients, too."""

    @property
    def files(self) -> tuple[str, str, str]:
        """Certificate, key, and the authority of its clients."""
        return (
            self.certificates[f"{self.shows}.pem"],
            self.certificates[f"{self.shows}.key"],
            self.certificates["ca.pem"],
        )


class SecuredRedis(Secured, Redis):
    def command(self) -> Sequence[str]:
        cert, key, ca = self.files
        at, *rest = super().command()
        return [
            at, *rest, "--port", "0", "--tls-port", str(self.port), "--tls-cert-file", cert, "--tls-key-file", key,
            "--tls-ca-cert-file", ca, "--tls-auth-clients", "yes" if self.asks else "no",
        ]  # fmt: skip

    @property
    def url(self) -> str:
        return super().url.replace("redis://", "rediss://")


class SecuredNats(Secured, Nats):
    def command(self) -> Sequence[str]:
        cert, key, ca = self.files
        ask = ["--tlsverify", "--tlscacert", ca] if self.asks else []
        return [*super().command(), "--tls", "--tlscert", cert, "--tlskey", key, *ask]

    @property
    def url(self) -> str:
        return super().url.replace("nats://", "tls://")


class SecuredMosquitto(Secured, Mosquitto):
    def command(self) -> Sequence[str]:
        cert, key, ca = self.files
        ask = [f"cafile {ca}", "require_certificate true"] if self.asks else []
        self._lines = ("allow_anonymous true", f"certfile {cert}", f"keyfile {key}", *ask)
        return super().command()

    @property
    def url(self) -> str:
        return super().url.replace("mqtt://", "mqtts://")


class _Fronted(Secured):
    """Behind something that does the TLS for it, at a port of its own."""

    front: Front

    @property
    def context(self) -> ssl.SSLContext:
        cert, key, ca = self.files
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
        if self.asks:
            context.load_verify_locations(ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def stop(self) -> None:
        self.front.close()
        super().stop()  # type: ignore[misc]


class SecuredWebServer(_Fronted, WebServer):
    def start(self) -> None:
        super().start()
        self.front = Front(self.context, self.port)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.front.port}/hook"


class SecuredKafka(_Fronted, KafkaMock):
    def start(self) -> None:
        super().start()
        self.front = Front(self.context, self._behind)

    def sink(self, **options: Any) -> Any:
        return self.kind(**{"servers": f"127.0.0.1:{self.front.port}", "tls": True, **options})


class Front:
    """Takes encrypted connections and passes on what comes in them, and back.

    Where a broker says at which port it is (Kafka's metadata, a big-endian int32), that of the front is said instead.
    """

    def __init__(self, context: ssl.SSLContext, behind: int) -> None:
        self.port, self._behind, self._context = free_port(), behind, context
        self._loop = asyncio.new_event_loop()
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._ready.wait(10)

    def close(self) -> Self:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()
        return self

    async def _serve(self) -> None:
        self._loop.set_exception_handler(lambda loop, context: None)
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port, ssl=self._context)
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await task

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        broker, to_broker = await asyncio.open_connection("127.0.0.1", self._behind)
        told, meant = struct.pack(">i", self._behind), struct.pack(">i", self.port)
        with suppress(OSError):
            await asyncio.gather(
                _copy(client, to_broker, lambda data: data),
                _copy(broker, to_client, lambda data: data.replace(told, meant)),
            )


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, change: Any) -> None:
    try:
        while data := await source.read(65536):
            target.write(change(data))
            await target.drain()
    finally:
        target.close()


def secured(kind: type[Broker], folder: Path, certificates: Certificates, *, shows: str, asks: bool) -> Any:
    """Return a broker behind TLS, not running.

    Args:
        kind: of this module.
        folder: for its data, if it keeps some in one.
        certificates: of all sides.
        shows: whose certificate it shows, ``server`` or ``elsewhere``.
        asks: whether it takes only clients with a certificate of the authority.
    """
    broker: Any = kind() if issubclass(kind, _Fronted) else kind(folder)  # type: ignore[call-arg]
    broker.certificates, broker.shows, broker.asks = certificates, shows, asks
    return broker
