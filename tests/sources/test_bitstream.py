"""Roles of packets: against headers written bit by bit, and against what real encoders make."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.sources._bitstream import Bits, Role, RoleOf, roles_of, units
from streamtrack.testing.clips import indexed_frames, write_clip

fields = st.lists(st.tuples(st.sampled_from("use"), st.integers(0, 1000)), max_size=30)


def coded(kind: str, number: int) -> str:
    """Return a number as the standards write it: u(12), ue(v) or se(v)."""
    if kind == "u":
        return f"{number:012b}"
    if kind == "s":
        number = 2 * number - 1 if number > 0 else -2 * number
    digits = f"{number + 1:b}"
    return "0" * (len(digits) - 1) + digits


def packed(bits: str) -> bytes:
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


@given(fields)
def test_reads_what_was_written(values: list[tuple[str, int]]) -> None:
    values = [(kind, number - 500 if kind == "s" else number) for kind, number in values]
    bits = Bits(packed("".join(coded(*value) for value in values)))
    read = {"u": lambda: bits.take(12), "e": bits.golomb, "s": bits.signed_golomb}
    assert [(kind, read[kind]()) for kind, _ in values] == values


@given(st.binary(max_size=6), st.lists(st.sampled_from("use"), max_size=40))
def test_reads_zeros_beyond_the_end(data: bytes, kinds: list[str]) -> None:
    bits = Bits(data)
    read = {"u": lambda: bits.take(12), "e": bits.golomb, "s": bits.signed_golomb}
    assert all(abs(read[kind]()) < 1 << 33 for kind in kinds)


# Neither empty nor with anything that a start code is made of.
bodies = st.lists(st.binary(min_size=1, max_size=9).map(lambda body: body.replace(b"\0", b"\7")), max_size=6)


@given(bodies, st.sampled_from([1, 2, 4]))
def test_finds_the_units_between_lengths(parts: list[bytes], size: int) -> None:
    data = b"".join(len(part).to_bytes(size, "big") + part for part in parts)
    assert [data[start:end] for start, end in units(data, size)] == parts


@given(bodies, st.sampled_from([b"\0\0\1", b"\0\0\0\1"]))
def test_finds_the_units_between_start_codes(parts: list[bytes], code: bytes) -> None:
    data = b"".join(code + part for part in parts)
    assert [data[start:end].rstrip(b"\0") for start, end in units(data, 0)] == parts


@given(st.binary(max_size=40), st.sampled_from([1, 2, 4]))
def test_lengths_either_fit_or_are_refused(data: bytes, size: int) -> None:
    try:
        found = list(units(data, size))
    except ValueError:
        return
    assert sum(size + end - start for start, end in found) == len(data)


@given(st.binary(max_size=60), st.booleans(), st.sampled_from(["h264", "hevc", "vp9"]), st.binary(max_size=40))
def test_noise_is_never_an_error(data: bytes, key: bool, codec: str, extradata: bytes) -> None:
    role_of = roles_of(codec, extradata, intra_only=False)
    assert role_of is not None
    assert role_of(data or b"\0", key) in Role


def sps(*, progressive: bool, profile: int = 77) -> bytes:
    chroma = "" if profile < 100 else coded("e", 1) * 1 + coded("e", 0) * 2 + "0" + "1" + "1" + "1" * 16 + "0" * 7
    tail = coded("e", 0) + coded("e", 2) + coded("e", 4) + "0" + coded("e", 9) + coded("e", 5)
    return b"\x67" + packed(f"{profile:08b}" + "0" * 16 + coded("e", 0) + chroma + tail + str(int(progressive)))


def slice_of(kind: int, *, referred: bool = True, field: str = "", first: int = 0, slice_type: int = 0) -> bytes:
    header = coded("e", first) + coded("e", slice_type) + coded("e", 0) + "0101" + field
    return bytes([kind | (0x60 if referred else 0)]) + packed(header + "1" * 20)


def annex_b(*parts: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + part for part in parts)


def h264(**how: Any) -> RoleOf:
    role_of = roles_of("h264", annex_b(sps(**how), b"\x68\xce"), intra_only=False)
    assert role_of is not None
    return role_of


@pytest.mark.parametrize("profile", [77, 100])
def test_h264_pictures_by_their_first_bytes(profile: int) -> None:
    role_of = h264(progressive=True, profile=profile)
    assert role_of(annex_b(slice_of(5)), True) is Role.FRESH
    assert role_of(annex_b(slice_of(1)), False) is Role.REFERENCE
    assert role_of(annex_b(slice_of(1, referred=False)), False) is Role.DISPOSABLE
    assert role_of(annex_b(b"\x09\xf0", b"\x06\1\1\1", slice_of(1, referred=False)), False) is Role.DISPOSABLE
    assert role_of(annex_b(slice_of(1, slice_type=7)), True) is Role.KEY
    # The beginning of a gradual refresh: P slices that a container calls a keyframe.
    assert role_of(annex_b(slice_of(1, slice_type=5)), True) is Role.REFERENCE
    several = [slice_of(1, referred=False), slice_of(1, referred=False, first=40)]
    assert role_of(annex_b(*several), False) is Role.DISPOSABLE


def test_h264_packets_with_more_or_less_than_a_frame() -> None:
    role_of = h264(progressive=True)
    assert role_of(annex_b(slice_of(1), slice_of(1)), False) is Role.UNKNOWN
    assert role_of(annex_b(slice_of(1, first=40)), False) is Role.UNKNOWN
    assert role_of(annex_b(b"\x06\1\1\1"), False) is Role.UNKNOWN


def test_h264_fields_are_not_frames() -> None:
    """A frame may be two packets or one then; what cannot be counted is not left out."""
    role_of = h264(progressive=False)
    assert role_of(annex_b(slice_of(1, referred=False, field="0")), False) is Role.DISPOSABLE
    assert role_of(annex_b(slice_of(1, referred=False, field="10")), False) is Role.UNKNOWN


def test_new_parameter_sets_are_not_left_out() -> None:
    role_of = h264(progressive=True)
    same, other = sps(progressive=True), sps(progressive=False)
    assert role_of(annex_b(same, b"\x68\xce", slice_of(5)), True) is Role.FRESH
    assert role_of(annex_b(other, b"\x68\xce", slice_of(5, field="0")), True) is Role.UNKNOWN
    assert role_of(annex_b(other, b"\x68\xce", slice_of(5, field="0")), True) is Role.FRESH
    assert role_of(annex_b(same, slice_of(5)), True) is Role.UNKNOWN
    # A repeated one with a picture that nothing refers to: nobody else may repeat it.
    assert role_of(annex_b(same, slice_of(1, referred=False)), False) is Role.REFERENCE


def test_h264_without_parameter_sets_is_unknown() -> None:
    role_of = roles_of("h264", None, intra_only=False)
    assert role_of is not None
    assert role_of(annex_b(slice_of(5)), True) is Role.UNKNOWN


def hevc_unit(kind: int, *, temporal: int = 0, layer: int = 0, first: bool = True, body: int = 0) -> bytes:
    return bytes([kind << 1 | layer >> 5, (layer & 31) << 3 | temporal + 1, first << 7 | body, 0x55])


def test_hevc_pictures_by_their_types() -> None:
    """Two temporal layers: a sub-layer non-reference picture of the lower one may serve the upper one."""
    role_of = roles_of("hevc", annex_b(hevc_unit(33, body=1 << 1, first=False)), intra_only=False)
    assert role_of is not None
    assert role_of(annex_b(hevc_unit(19)), True) is Role.FRESH
    assert role_of(annex_b(hevc_unit(21)), True) is Role.KEY
    assert role_of(annex_b(hevc_unit(1)), False) is Role.REFERENCE
    assert role_of(annex_b(hevc_unit(0)), False) is Role.REFERENCE
    for kind in (0, 2, 4, 6, 8):
        assert role_of(annex_b(hevc_unit(kind, temporal=1)), False) is Role.DISPOSABLE
        assert role_of(annex_b(hevc_unit(kind + 1, temporal=1)), False) is Role.REFERENCE
    assert role_of(annex_b(hevc_unit(0, temporal=1), hevc_unit(36)), False) is Role.REFERENCE
    assert role_of(annex_b(hevc_unit(0, temporal=1), hevc_unit(0, layer=1)), False) is Role.REFERENCE
    assert role_of(annex_b(hevc_unit(0, temporal=1), hevc_unit(0, temporal=1)), False) is Role.UNKNOWN


def test_vp9_frames_by_their_first_byte() -> None:
    role_of = roles_of("vp9", None, intra_only=False)
    assert role_of is not None
    assert role_of(bytes([0b1000_0010, 0]), True) is Role.FRESH
    assert role_of(bytes([0b1000_0110, 0]), False) is Role.REFERENCE
    assert role_of(bytes([0b1000_1000]), False) is Role.REFERENCE
    assert role_of(bytes([0b1000_0100, 0]), False) is Role.UNKNOWN  # hidden, alone
    assert role_of(bytes([0b1000_0100, 0, 0b1100_0001]), False) is Role.REFERENCE  # hidden, with another
    assert role_of(bytes([0b0000_0000]), False) is Role.UNKNOWN


def test_codecs_of_which_nothing_is_known() -> None:
    assert roles_of("mpeg4", None, intra_only=False) is None
    intra = roles_of("mjpeg", None, intra_only=True)
    assert intra is not None
    assert intra(b"anything", False) is Role.FRESH


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_real_streams(tmp_path: Path, name: str, codec: str) -> None:
    """Length-prefixed and with start codes: as many keyframes as were asked for, and B-frames that can go."""
    parameters = {"libx264": "x264-params", "libx265": "x265-params"}[codec]
    asked = "keyint=10:scenecut=0:bframes=3:open-gop=0:b-adapt=0"
    if codec == "libx265":
        asked += ":log-level=none"
    path = write_clip(
        tmp_path / name, indexed_frames(40), codec=codec, options={"preset": "ultrafast", parameters: asked}
    )
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        role_of = roles_of(stream.codec_context.codec.canonical_name, stream.codec_context.extradata, intra_only=False)
        assert role_of is not None
        packets = [packet for packet in container.demux(stream) if packet.size]
        roles = Counter(role_of(bytes(packet), packet.is_keyframe) for packet in packets)
    assert roles[Role.FRESH] == 4
    assert roles[Role.DISPOSABLE] >= 8
    assert roles[Role.UNKNOWN] == 0
    assert sum(roles.values()) == 40
