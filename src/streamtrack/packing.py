"""Files that are compressed while they grow: whatever is left of one can be read, up to its last complete piece.

gzip (RFC 1952) comes with Python; zstd (RFC 8878) needs the package ``zstandard``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, Protocol

from streamtrack.errors import PluginError

Compress = Literal["none", "gzip", "zstd"]
ENDINGS: Final[dict[Compress, str]] = {"none": "", "gzip": ".gz", "zstd": ".zst"}
"""What is put behind the name of a file that is compressed."""
_GZIP: Final = 16 + zlib.MAX_WBITS
"""zlib's way to say that a stream has the head and the end of gzip."""
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


class Packer(Protocol):
    """Compresses one file, piece by piece."""

    def pack(self, piece: bytes) -> bytes:
        """Return what to append for ``piece``: all of it, so that whoever reads so far has all so far."""
        ...

    def finish(self) -> bytes:
        """Return what ends the file."""
        ...


class _Plain:
    def pack(self, piece: bytes) -> bytes:
        return piece

    def finish(self) -> bytes:
        return b""


class _Compressed:
    def __init__(self, compressor: Any, flush: int, finish: int) -> None:
        self._compressor, self._flush, self._finish = compressor, flush, finish

    def pack(self, piece: bytes) -> bytes:
        # The window stays as it is: a piece is short, and what was before it is much like it.
        return bytes(self._compressor.compress(piece) + self._compressor.flush(self._flush)) if piece else b""

    def finish(self) -> bytes:
        return bytes(self._compressor.flush(self._finish))


def packer(compress: Compress) -> Packer:
    """Return what compresses one file.

    Raises:
        PluginError: zstd, and the package for it is not installed.
    """
    if compress == "gzip":
        return _Compressed(zlib.compressobj(wbits=_GZIP), zlib.Z_SYNC_FLUSH, zlib.Z_FINISH)
    if compress == "zstd":
        library = _zstandard()
        compressor = library.ZstdCompressor().compressobj()
        return _Compressed(compressor, library.COMPRESSOBJ_FLUSH_BLOCK, library.COMPRESSOBJ_FLUSH_FINISH)
    return _Plain()


class Unpacked(NamedTuple):
    """What was in a file."""

    data: bytes
    whole: bool
    """Whether the file was ended; a run that is killed does not."""


def unpack(data: bytes) -> Unpacked:
    """Return what is in a file, compressed or not, as far as it goes.

    Args:
        data: all of the file, or its beginning; several compressed files may follow each other.

    Raises:
        ValueError: it is compressed and damaged.
        PluginError: it is compressed with zstd, and the package for it is not installed.
    """
    if data.startswith(_GZIP_MAGIC):
        return _unpack(data, lambda: zlib.decompressobj(_GZIP), zlib.error)
    if data.startswith(_ZSTD_MAGIC):
        library = _zstandard()
        return _unpack(data, lambda: library.ZstdDecompressor().decompressobj(), library.ZstdError)
    return Unpacked(data, True)


def _unpack(data: bytes, make: Callable[[], Any], failure: type[Exception]) -> Unpacked:
    pieces, whole = [], True
    while data:
        decompressor = make()
        try:
            pieces.append(decompressor.decompress(data))
        except failure as error:
            raise ValueError(f"it is damaged ({error})") from error
        data, whole = decompressor.unused_data, decompressor.eof
    return Unpacked(b"".join(pieces), whole)


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise PluginError(f"zstd needs the package 'zstandard' ({error}): pip install 'streamtrack[zstd]'.") from error
    return zstandard
