from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.address import Address, locate, read_secret, split_options
from streamtrack.errors import ConfigError, SourceOpenError

INSTALLED = ("chaos", "gst", "images", "live", "pyav", "replay", "kinesis")


@pytest.mark.parametrize(
    ("written", "plugin", "uri"),
    [
        ("video.mp4", "pyav", "video.mp4"),
        ("-", "pyav", "-"),
        ("file:///a/b.mp4", "pyav", "file:///a/b.mp4"),
        ("10:30.mp4", "pyav", "10:30.mp4"),
        ("http:.mp4", "pyav", "http:.mp4"),
        ("rtsp://cam/live?channel=1", "live", "rtsp://cam/live?channel=1"),
        ("RTSPS://cam/live", "live", "RTSPS://cam/live"),
        ("udp://239.0.0.1:1234", "live", "udp://239.0.0.1:1234"),
        ("http://host/a/clip.mp4?x=1", "pyav", "http://host/a/clip.mp4?x=1"),
        ("https://host/live/index.m3u8", "live", "https://host/live/index.m3u8"),
        ("http://cam/mjpg", "live", "http://cam/mjpg"),
        ("http://host/live/door.flv", "live", "http://host/live/door.flv"),
        ("live:http://host/door.ts", "live", "http://host/door.ts"),
        ("/dev/video0", "live", "/dev/video0"),
        ("avfoundation:0", "live", "avfoundation:0"),
        ("feed.sdp", "live", "feed.sdp"),
        ("gst:videotestsrc ! appsink", "gst", "videotestsrc ! appsink"),
        ("replay:out/video", "replay", "out/video"),
        ("chaos:rtsp://cam/live?freeze@5s=1s", "chaos", "rtsp://cam/live?freeze@5s=1s"),
        ("kinesis://door/1", "kinesis", "kinesis://door/1"),
        ("pyav:10:30.mp4", "pyav", "10:30.mp4"),
        ("shots/*.jpg", "images", "shots/*.jpg"),
        ("shots/*.jpg?rate=10", "images", "shots/*.jpg?rate=10"),
        ("shots/%04d.png", "images", "shots/%04d.png"),
        ("shots/a?.jpg", "images", "shots/a?.jpg"),
        ("photo.jpg", "pyav", "photo.jpg"),
    ],
)
def test_where_a_source_is(written: str, plugin: str, uri: str) -> None:
    assert locate(written, INSTALLED) == Address(plugin, uri)


def test_what_exists_is_what_it_is(tmp_path: Path) -> None:
    assert locate(str(tmp_path), INSTALLED).plugin == "images"
    assert locate(f"{tmp_path}?rate=5", INSTALLED).plugin == "images"
    odd = tmp_path / "what*.jpg"
    odd.touch()
    assert locate(str(odd), INSTALLED).plugin == "pyav"


def test_options_of_a_path_are_checked() -> None:
    assert split_options("shots?rate=10&loop=1", ["rate", "loop"]) == ("shots", {"rate": "10", "loop": "1"})
    assert split_options("shots", ["rate"]) == ("shots", {})
    assert split_options("a?.jpg", ["rate"]) == ("a?.jpg", {})
    with pytest.raises(ConfigError, match=r"no option 'rat'. Did you mean 'rate'\?"):
        split_options("shots?rat=10", ["rate"])


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "a?b=c"
    path.touch()
    assert split_options(str(path), []) == (str(path), {})


def test_a_url_keeps_what_is_its_own() -> None:
    known = ["transport", "timeout_s"]
    assert split_options("rtsp://c/x?channel=1&transport=udp&subtype=0", known) == (
        "rtsp://c/x?channel=1&subtype=0",
        {"transport": "udp"},
    )
    assert split_options("rtsp://c/x?transport=udp", known) == ("rtsp://c/x", {"transport": "udp"})
    assert split_options("rtsp://c/x?token", known) == ("rtsp://c/x?token", {})


@given(st.text(alphabet="ab:/?&=%.-", max_size=30))
def test_no_part_of_a_url_is_lost(rest: str) -> None:
    uri, options = split_options(f"rtsp://{rest}", ())
    assert options == {}
    assert uri.replace("&", "").rstrip("?") == f"rtsp://{rest}".replace("&", "").rstrip("?")


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "camera"
    secret.write_text("\nrtsp://me:pw@cam/live \n")
    assert read_secret(f"file:{secret}") == "rtsp://me:pw@cam/live"
    assert read_secret(f"file://{secret}") == f"file://{secret}"
    assert read_secret(str(secret)) == str(secret)


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x18ftypmp42", b"\xff\xfe\x80", b"a\nb\n", b"x" * 5000, b""])
def test_a_file_that_holds_no_source_is_the_source(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    assert read_secret(f"file:{path}") == str(path)


def test_a_secret_that_is_not_there() -> None:
    with pytest.raises(SourceOpenError, match="'nowhere' cannot be read"):
        read_secret("file:nowhere")
