"""Records to an HTTP server: batches by POST, tried again until they are taken, signed if there is a secret.

Headers follow Standard Webhooks (https://www.standardwebhooks.com): ``webhook-id`` and ``webhook-timestamp`` always,
``webhook-signature`` with a secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final, Literal, Unpack

from streamtrack.errors import ConfigError
from streamtrack.sinks._delivery import Options, Refused, StreamSink, Unreachable, settle
from streamtrack.sinks._endpoint import Endpoint, read_endpoint
from streamtrack.sinks._messages import Message, joined
from streamtrack.sinks._tls import Tls, in_words, read_tls

_TRY_AGAIN: Final = (408, 425, 429)
_READ_BYTES: Final = 4096
_SHOWN_CHARACTERS: Final = 200


class WebhookSink(StreamSink):
    """Posts records as JSON.

    Args:
        url: ``http://`` or ``https://``; a user and password in it are sent as basic authentication.
        body: ``array`` for one JSON array, ``lines`` for a JSON object on each line (``application/x-ndjson``).
        secret: signs every request: HMAC-SHA256 with this text, or with the key that ``whsec_BASE64`` holds.
        authorization: value of the header ``Authorization``.
        delivery: see ``_delivery.Settings``.

    Raises:
        ConfigError: an option is missing or does not fit.
    """

    def __init__(
        self,
        *,
        url: str = "",
        body: Literal["array", "lines"] = "array",
        secret: str = "",
        authorization: str = "",
        **delivery: Unpack[Options],
    ) -> None:
        settings = settle("webhook", delivery)
        if settings.encoding != "json":
            raise ConfigError("The sink 'webhook' sends JSON only: leave out encoding.")
        endpoint = read_endpoint("webhook.url", url, {"http": 80, "https": 443})
        encrypted = endpoint.scheme == "https"
        tls = read_tls("webhook", settings, encrypted=encrypted, how="a URL that begins with https://")
        super().__init__(_Poster(endpoint, body, _key(secret), authorization, tls), settings)


def _key(secret: str) -> bytes:
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ConfigError("Option webhook.secret begins with whsec_, but what follows is not base64.") from error


class _Poster:
    """The HTTP client: one connection, kept open."""

    name = "webhook"

    def __init__(self, endpoint: Endpoint, body: str, key: bytes, authorization: str, tls: Tls | None) -> None:
        self.place = endpoint.place
        self.identity = f"{endpoint.place}{endpoint.path}"
        self._endpoint, self._key, self._tls = endpoint, key, tls
        self._as_lines = body == "lines"
        self._headers = {
            "Content-Type": "application/x-ndjson" if self._as_lines else "application/json",
            "User-Agent": "streamtrack",
        }
        if endpoint.username or endpoint.password:
            credentials = f"{endpoint.username}:{endpoint.password}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
        if authorization:
            self._headers["Authorization"] = authorization
        self._connection: http.client.HTTPConnection | None = None

    def connect(self, timeout_s: float) -> None:
        """Open the connection; nothing is asked of the server."""
        endpoint = self._endpoint
        try:
            if self._tls is None:
                self._connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
            else:
                self._connection = http.client.HTTPSConnection(
                    endpoint.host, endpoint.port, timeout=timeout_s, context=self._tls.context()
                )
            self._connection.connect()
        except OSError as error:
            raise Unreachable(in_words(error)) from error

    def publish(self, messages: Sequence[Message], timeout_s: float) -> None:
        """Post one request; it is acknowledged by any status of 200 to 299."""
        assert self._connection is not None
        body = joined(messages, b"\n") + b"\n" if self._as_lines else b"[" + joined(messages, b",") + b"]"
        try:
            self._connection.request("POST", self._endpoint.path or "/", body, self._headers_for(messages, body))
            response = self._connection.getresponse()
            text = response.read(_READ_BYTES)
            # A connection with an answer half read cannot be used again.
            rest = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(in_words(error)) from error
        del rest
        self._judge(response, text)

    def _headers_for(self, messages: Sequence[Message], body: bytes) -> dict[str, str]:
        # The same batch has the same id however often it is sent.
        batch_id = f"{messages[0].id}.{len(messages)}"
        timestamp = str(int(time.time()))
        headers = {**self._headers, "Idempotency-Key": f'"{batch_id}"', "webhook-id": batch_id}
        headers["webhook-timestamp"] = timestamp
        if self._key:
            signed = b".".join((batch_id.encode(), timestamp.encode(), body))
            digest = hmac.digest(self._key, signed, hashlib.sha256)
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return headers

    def _judge(self, response: http.client.HTTPResponse, text: bytes) -> None:
        status = response.status
        if 200 <= status < 300:
            return
        said = next(iter(text.decode("utf-8", "replace").strip().splitlines()), "")[:_SHOWN_CHARACTERS]
        reason = f"it answered {status} {response.reason}" + (f": {said}" if said else ".")
        if status >= 500 or status in _TRY_AGAIN:
            raise Unreachable(reason, _seconds(response.headers.get("Retry-After", "")))
        if 300 <= status < 400:
            reason += " Redirects are not followed: give the final URL."
        raise Refused(reason)

    def idle(self) -> None:
        """Close the connection before the server does; the next request opens it again by itself."""
        if self._connection is not None:
            self._connection.close()

    def disconnect(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _seconds(retry_after: str) -> float:
    """Return the value of a header ``Retry-After`` (RFC 9110, 10.2.3), which is seconds or a date."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
