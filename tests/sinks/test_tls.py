"""TLS to real brokers: whom a sink trusts, who it says it is, and what a person is told where that fails."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import Broker, KafkaMock, Mosquitto, Nats, Redis, WebServer, run, running
from cryptography.hazmat.primitives import serialization
from encrypted import (
    Certificates,
    SecuredKafka,
    SecuredMosquitto,
    SecuredNats,
    SecuredRedis,
    SecuredWebServer,
    secured,
)

from streamtrack.errors import ConfigError, SinkError
from streamtrack.sinks._delivery import Settings
from streamtrack.sinks._tls import Tls, in_words, read_tls

_DEBIAN: dict[type[Broker], str] = {
    SecuredRedis: "redis-server",
    SecuredNats: "nats-server",
    SecuredMosquitto: "mosquitto",
}


def _needed(kind: type[Broker]) -> list[Any]:
    program = _DEBIAN.get(kind)
    return [pytest.mark.requires(program=program, install=f"apt-get install {program}")] if program else []


KINDS = [
    pytest.param(kind, marks=_needed(kind), id=kind.__name__.removeprefix("Secured").lower())
    for kind in (SecuredRedis, SecuredNats, SecuredMosquitto, SecuredWebServer, SecuredKafka)
]
QUICK = {"timeout_s": 15.0, "close_timeout_s": 0.5}
"""Told as soon as it is known; only who never answers is waited for."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, certificates: Certificates) -> Iterator[Any]:
    """A broker whose certificate is of the authority, and is that of its host unless the test says otherwise."""
    kind, how = request.param if isinstance(request.param, tuple) else (request.param, {})
    with running(secured(kind, tmp_path / "data", certificates, **{"shows": "server", "asks": False, **how})) as server:
        yield server


def showing(**how: Any) -> Any:
    """Parametrize ``server`` with a broker of every kind."""
    params = [pytest.param((each.values[0], how), marks=each.marks, id=each.id) for each in KINDS]
    return pytest.mark.parametrize("server", params, indirect=True)


@showing()
def test_all_is_delivered_to_one_whose_authority_is_named(
    tmp_path: Path, server: Any, certificates: Certificates
) -> None:
    counts = run(server, tmp_path, tls_ca=certificates["ca.pem"]).counts()
    assert counts["messages"] == counts["delivered"] > 150


@showing()
@pytest.mark.parametrize("ca", ["", "stranger.pem"])
def test_one_whose_authority_is_unknown_is_not_trusted(
    tmp_path: Path, server: Any, certificates: Certificates, ca: str
) -> None:
    with pytest.raises(SinkError, match=r"its certificate is not trusted.*tls_ca=FILE"):
        run(server, tmp_path, tls_ca=certificates[ca] if ca else "", **QUICK)


@showing(shows="elsewhere")
def test_one_that_is_another_is_not_trusted(tmp_path: Path, server: Any, certificates: Certificates) -> None:
    with pytest.raises(SinkError, match="another host"):
        run(server, tmp_path, tls_ca=certificates["ca.pem"], **QUICK)


@showing(asks=True)
@pytest.mark.parametrize("named", [{"tls_cert": "client.both"}, {"tls_cert": "client.pem", "tls_key": "client.key"}])
def test_one_that_asks_who_we_are_is_told(
    tmp_path: Path, server: Any, certificates: Certificates, named: dict[str, str]
) -> None:
    files = {option: certificates[name] for option, name in named.items()}
    counts = run(server, tmp_path, tls_ca=certificates["ca.pem"], **files).counts()
    assert counts["messages"] == counts["delivered"] > 150


@showing(asks=True)
def test_one_that_asks_takes_nothing_of_whom_it_does_not_know(
    tmp_path: Path, server: Any, certificates: Certificates
) -> None:
    if isinstance(server, SecuredWebServer):
        # A client of TLS 1.3 hears of the refusal when it reads, and nothing is read when a webhook connects.
        sink = run(server, tmp_path, tls_ca=certificates["ca.pem"], timeout_s=2, close_timeout_s=0.5)
        assert sink.counts()["delivered"] == 0
        assert not server.posted
        return
    with pytest.raises(SinkError, match="cannot be reached"):
        run(server, tmp_path, tls_ca=certificates["ca.pem"], timeout_s=2, close_timeout_s=0.5)


@pytest.mark.parametrize(
    ("kind", "plain", "secure"),
    [
        pytest.param(Redis, "redis://", "rediss://", marks=_needed(SecuredRedis)),
        pytest.param(Nats, "nats://", "tls://", marks=_needed(SecuredNats)),
        pytest.param(Mosquitto, "mqtt://", "mqtts://", marks=_needed(SecuredMosquitto)),
        (WebServer, "http://", "https://"),
        (KafkaMock, "", ""),
    ],
)
def test_one_that_does_not_encrypt_is_sent_nothing(tmp_path: Path, kind: Any, plain: str, secure: str) -> None:
    with running(kind(tmp_path / "data") if plain and kind is not WebServer else kind()) as server:
        options = {"url": server.url.replace(plain, secure)} if plain else {"tls": True}
        with pytest.raises(SinkError, match="cannot be reached"):
            run(server, tmp_path, **options, timeout_s=1)


@pytest.mark.parametrize("login", ["me:hunter2@", "hunter2@", ""])
def test_no_password_goes_to_a_nats_server_that_does_not_encrypt(tmp_path: Path, login: str) -> None:
    """NATS begins in the clear, and it is the server that asks for TLS: one in its place would not."""
    heard: list[bytes] = []

    def listen(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        info = {"server_id": "x", "version": "2.9.10", "max_payload": 1_000_000, "auth_required": True}
        with connection:
            connection.sendall(f"INFO {json.dumps(info)}\r\n".encode())
            while data := connection.recv(4096):
                heard.append(data)
                connection.sendall(b"PONG\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen, args=(listener,))
        thread.start()
        server = Nats(tmp_path / "data")
        with pytest.raises(SinkError, match="does not speak TLS"):
            run(server, tmp_path, url=f"tls://{login}127.0.0.1:{listener.getsockname()[1]}", **QUICK)
        thread.join()
    assert b"hunter2" not in b"".join(heard)


@pytest.fixture
def files(certificates: Certificates, tmp_path: Path) -> dict[str, str]:
    """What people name by mistake, beside what they should."""
    key = serialization.load_pem_private_key(Path(certificates["client.key"]).read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "locked").write_bytes(locked)
    (tmp_path / "cut").write_bytes(Path(certificates["client.pem"]).read_bytes()[:400] + b"-----END CERTIFICATE-----\n")
    found = {name: certificates[name] for name in ("ca.pem", "client.pem", "client.key", "server.key", "client.both")}
    return found | {name: str(tmp_path / name) for name in ("locked", "cut", "nosuch")}


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"ca": "nosuch"}, r"Option mqtt\.tls_ca: '.*nosuch' cannot be read: No such file"),
        ({"ca": "client.key"}, r"Option mqtt\.tls_ca: '.*' holds no certificate"),
        ({"ca": "cut"}, r"Option mqtt\.tls_ca: '.*cut' cannot be used"),
        ({"cert": "cut", "key": "client.key"}, r"Option mqtt\.tls_cert: '.*cut' cannot be used"),
        ({"cert": "client.pem", "key": "client.pem"}, r"Option mqtt\.tls_key: '.*' holds no private key"),
        ({"cert": "client.pem", "key": "server.key"}, "is not that of the certificate"),
        ({"cert": "client.pem", "key": "locked"}, r"mqtt\.tls_key.*locked with a password: unlock it"),
        ({"cert": "client.pem"}, r"holds no private key \(PEM\)\..*tls_key"),
        ({"key": "client.key"}, r"mqtt\.tls_key is the key of a certificate: name that, too"),
    ],
)
def test_files_that_cannot_be_used_are_refused_before_anything_is_sent(
    files: dict[str, str], named: dict[str, str], said: str
) -> None:
    settings = Settings(**{f"tls_{option}": files[name] for option, name in named.items()})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=said):
        read_tls("mqtt", settings, encrypted=True, how="mqtts://")


def test_files_are_named_not_given(files: dict[str, str]) -> None:
    settings = Settings(tls_ca=Path(files["ca.pem"]).read_text())
    with pytest.raises(ConfigError, match="must be the name of a PEM file, not what is in it") as caught:
        read_tls("mqtt", settings, encrypted=True, how="mqtts://")
    assert "-----BEGIN" not in str(caught.value)


def test_files_of_a_connection_that_is_not_encrypted_are_refused(files: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.tls_cert is for an encrypted connection: that takes mqtts://"):
        read_tls("mqtt", Settings(tls_cert=files["client.both"]), encrypted=False, how="mqtts://")
    assert read_tls("mqtt", Settings(), encrypted=False, how="mqtts://") is None


def test_without_files_the_systems_authorities_are_trusted_and_the_name_is_checked() -> None:
    tls = read_tls("mqtt", Settings(), encrypted=True, how="mqtts://")
    assert tls == Tls("", "", "")
    context = tls.context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "Connection refused."),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known."),
        (TimeoutError("timed out"), "timed out."),
        (TimeoutError(), "TimeoutError."),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "[SSL: WRONG_VERSION_NUMBER]"),
    ],
)
def test_why_a_connection_failed_is_one_sentence(error: OSError, said: str) -> None:
    assert in_words(error).startswith(said)


def test_a_server_that_answers_in_the_clear_is_said_to_do_so() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(ssl.SSLError) as caught:
            ssl.create_default_context().wrap_socket(near, server_hostname="127.0.0.1")
    assert in_words(caught.value) == "it does not speak TLS on that port."
