"""TLS to a broker: whom to trust, who we are, and in words why a connection did not come about."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from streamtrack.errors import ConfigError
from streamtrack.sinks._delivery import Settings

_NO_TLS_THERE: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE"})
# X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH (OpenSSL, x509_vfy.h).
_OTHER_NAME: Final = frozenset({62, 64})


class Tls(NamedTuple):
    """The files of an encrypted connection, in PEM (RFC 7468)."""

    ca: str
    """Certificates of the authorities that are trusted; empty: those of the system."""
    cert: str
    """Certificate that says who we are, with those between it and its authority behind it; empty: none."""
    key: str
    """Private key of ``cert``; empty: it is in the same file."""

    def context(self) -> ssl.SSLContext:
        """Return what Python's clients take: the server's certificate is checked, and that it is for its host.

        Raises:
            OSError: a file cannot be read or does not hold what it should.
        """
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.cert:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.cert, self.key or None, password="")
        return context


def read_tls(sink: str, settings: Settings, *, encrypted: bool, how: str) -> Tls | None:
    """Return the files of an encrypted connection, all of them tried; None for one that is not encrypted.

    Args:
        sink: its name.
        settings: where the files were named.
        encrypted: whether the connection is to be.
        how: what makes it so, for the message: ``a URL that begins with mqtts://``.

    Raises:
        ConfigError: a file that cannot be used, or that would not be.
    """
    tls = Tls(settings.tls_ca, settings.tls_cert, settings.tls_key)
    named = [key for key, value in tls._asdict().items() if value]
    if not encrypted:
        if named:
            raise ConfigError(f"Option {sink}.tls_{named[0]} is for an encrypted connection: that takes {how}.")
        return None
    if tls.key and not tls.cert:
        raise ConfigError(f"Option {sink}.tls_key is the key of a certificate: name that, too, with tls_cert.")
    for option in named:
        _check(f"{sink}.tls_{option}", getattr(tls, option), "PRIVATE KEY" if option == "key" else "CERTIFICATE")
    if tls.cert and not tls.key:
        hint = " Where the key has a file of its own, name that with tls_key."
        _check(f"{sink}.tls_cert", tls.cert, "PRIVATE KEY", hint)
    # One after the other, so that it is known which of them is meant.
    for option, part in (("ca", Tls(tls.ca, "", "")), ("cert", tls)):
        if option not in named:
            continue
        try:
            part.context()
        except OSError as error:
            raise ConfigError(f"Option {sink}.tls_{option}: {_why_not(part, error)}.") from error
    return tls


def _check(option: str, path: str, wanted: str, hint: str = "") -> None:
    if path.startswith("-----BEGIN"):
        raise ConfigError(f"Option {option} must be the name of a PEM file, not what is in it.")
    try:
        text = Path(path).read_text("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"Option {option}: '{path}' cannot be read: {error.strerror}.") from error
    if f"{wanted}-----" not in text:
        raise ConfigError(f"Option {option}: '{path}' holds no {wanted.lower()} (PEM).{hint}")
    if wanted == "PRIVATE KEY" and "ENCRYPTED" in text:
        raise ConfigError(
            f"Option {option}: '{path}' is locked with a password: unlock it (openssl pkey -in ... -out ...)."
        )


def _why_not(tls: Tls, error: OSError) -> str:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"the key in '{tls.key or tls.cert}' is not that of the certificate in '{tls.cert}'"
    return f"'{tls.cert or tls.ca}' cannot be used; it may be damaged ({error.strerror or error})"


def in_words(error: BaseException) -> str:
    """Return why a connection failed, as a sentence: of TLS what to do about it, else what the system says."""
    for each in _with_causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return _distrusted(each.verify_code, each.verify_message)
        # Where the connection simply ended there is no reason.
        if isinstance(each, ssl.SSLError) and (reason := getattr(each, "reason", None)):
            return _broken(reason)
    said = error.strerror if isinstance(error, OSError) else ""
    if isinstance(error, ConnectionError) and error.errno:
        # That of asyncio says what failed instead of why.
        said = os.strerror(error.errno)
    return f"{(said or str(error) or type(error).__name__).rstrip('.')}."


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__


def _distrusted(code: int, message: str) -> str:
    said = message.rstrip(".")
    if code in _OTHER_NAME:
        return f"its certificate is that of another host ({said}): use the name that it is for."
    return f"its certificate is not trusted ({said}): name the one of its authority with tls_ca=FILE."


def _broken(reason: str) -> str:
    if reason in _NO_TLS_THERE:
        return "it does not speak TLS on that port."
    if "ALERT" in reason:
        return (
            f"it breaks off the handshake ({reason.replace('_', ' ').lower()}): where it asks for a certificate, name "
            "one that it trusts with tls_cert=FILE."
        )
    return f"no encrypted connection comes about ({reason.replace('_', ' ').lower()})."
