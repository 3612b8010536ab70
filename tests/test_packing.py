"""What was packed comes out again, as far as the file goes."""

from __future__ import annotations

import gzip
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.errors import PluginError
from streamtrack.packing import Compress, packer, unpack

needs_zstandard = pytest.mark.requires(module="zstandard", install="pip install 'streamtrack[zstd]'")
PIECES = st.lists(st.binary(max_size=60), max_size=8)


def check(compress: Compress, pieces: list[bytes]) -> None:
    packing = packer(compress)
    packed = b""
    for count, piece in enumerate(pieces, 1):
        packed += packing.pack(piece)
        if packed:
            assert unpack(packed) == (b"".join(pieces[:count]), compress == "none")
    packed += packing.finish()
    data = b"".join(pieces)
    assert unpack(packed) == (data, True)
    assert unpack(packed + packed) == (data + data, True)
    for length in range(4, len(packed), 3):
        part = unpack(packed[:length]).data
        assert part == data[: len(part)]


@given(PIECES)
def test_gzip_comes_out_again(pieces: list[bytes]) -> None:
    check("gzip", pieces)


@needs_zstandard
@given(PIECES)
def test_zstd_comes_out_again(pieces: list[bytes]) -> None:
    check("zstd", pieces)


@given(st.lists(st.text("abc\n", max_size=60), max_size=8))
def test_nothing_is_done_to_what_is_not_compressed(pieces: list[str]) -> None:
    check("none", [piece.encode() for piece in pieces])


def test_other_programs_can_read_it() -> None:
    packing = packer("gzip")
    assert gzip.decompress(packing.pack(b"one\n") + packing.pack(b"two\n") + packing.finish()) == b"one\ntwo\n"


@pytest.mark.parametrize("compress", ["gzip", pytest.param("zstd", marks=needs_zstandard)])
def test_damage_is_an_error(compress: Compress) -> None:
    packing = packer(compress)
    packed = bytearray(packing.pack(b"some text " * 50) + packing.finish())
    packed[4:30] = b"\xff" * 26
    with pytest.raises(ValueError, match="damaged"):
        unpack(bytes(packed))


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(PluginError, match=r"pip install 'streamtrack\[zstd\]'"):
        packer("zstd")
    with pytest.raises(PluginError, match="zstandard"):
        unpack(b"\x28\xb5\x2f\xfd0000")
