"""A camera on loopback: GStreamer's RTSP server, run with Debian's Python as a child process of the tests.

Inside are two halves. The *camera* makes H.264 all the time, whether anybody looks or not, and packs it into RTP; the
*relay* of each RTSP session gets copies of those packets. A client that connects therefore lands in the middle of a
GOP, as with a real camera, and packets can be lost or their timestamps moved where the two halves meet.

Says ``READY port`` on stdout, obeys one command a line on stdin (see ``COMMANDS``), and ends with its stdin.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gi

for name in ("Gst", "GstApp", "GstRtsp", "GstRtspServer"):
    gi.require_version(name, "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

RTP_HZ, RTP_HEADER = 90_000, 12
# Later than this the camera was stopped, and goes on from now instead of making up for it.
LATE_S = 0.5
# The clock in the pixels: servers.read_clock is its other half.
CLOCK_COLUMNS, CLOCK_ROWS, DARK, BRIGHT = 8, 6, b"\x30", b"\xd0"


def read_clip(path: str) -> list[tuple[bytes, bool]]:
    """Return the access units of a clip as servers.write_access_units wrote them, and whether each is a keyframe."""
    with open(path, "rb") as file:
        data = file.read()
    units, at = [], 0
    while at < len(data):
        size, key = struct.unpack_from(">I?", data, at)
        units.append((data[at + 5 : at + 5 + size], key))
        at += 5 + size
    return units


def draw_clock(ms: int, width: int, height: int) -> bytes:
    """Return an I420 picture that says ``ms``, 47 bits and a parity bit, in blocks from the upper left."""
    word = ms << 1 | (1 - bin(ms).count("1") % 2)
    rows = b""
    for row in range(CLOCK_ROWS):
        bits = (word >> row * CLOCK_COLUMNS + column & 1 for column in range(CLOCK_COLUMNS))
        line = b"".join((BRIGHT if bit else DARK) * (width // CLOCK_COLUMNS) for bit in bits)
        rows += line * (height // CLOCK_ROWS)
    return rows + b"\x80" * (width * height // 2)


class Camera:
    """Makes pictures at a steady rate and hands each RTP packet to ``send``."""

    def __init__(self, options: argparse.Namespace, send: Callable[[bytes, Any], None]) -> None:
        self.fps, self.size, self.clock = options.fps, options.size, options.clock
        self.clips = {clip.partition("=")[0]: read_clip(clip.partition("=")[2]) for clip in options.clip}
        self.paused_until = 0.0
        self._send = send
        self._asked_size = self.size
        encode = (
            "x264enc tune=zerolatency speed-preset=ultrafast threads=1 bitrate=1000 "
            f"key-int-max={options.gop} option-string=scenecut=0 ! video/x-h264,profile=baseline ! "
        )
        self._pipeline = Gst.parse_launch(
            "appsrc name=source is-live=true format=time ! "
            + (encode if self.clock else "")
            + "rtph264pay pt=96 config-interval=-1 mtu=1200 ! appsink name=packets emit-signals=true sync=false"
        )
        self._source = self._pipeline.get_by_name("source")
        self._source.set_property("caps", self._caps())
        self._pipeline.get_by_name("packets").connect("new-sample", self._on_packet)

    def _caps(self) -> Any:
        width, height = self.size.split("x")
        kind = (
            f"video/x-raw,format=I420,width={width},height={height},framerate={self.fps}/1"
            if self.clock
            else "video/x-h264,stream-format=byte-stream,alignment=au"
        )
        return Gst.Caps.from_string(kind)

    def _on_packet(self, sink: Any) -> Any:
        sample = sink.emit("pull-sample")
        buffer = sample.get_buffer()
        self._send(buffer.extract_dup(0, buffer.get_size()), sample.get_caps())
        return Gst.FlowReturn.OK

    def change_size(self, size: str) -> None:
        self._asked_size = size

    def _pictures(self) -> Iterator[bytes]:
        number = 0
        while True:
            clip = self.clips.get(self.size, [])
            if self._asked_size != self.size and (self.clock or clip[number % len(clip)][1]):
                self.size = self._asked_size
                self._source.set_property("caps", self._caps())
            if self.clock:
                yield draw_clock(time.time_ns() // 1_000_000, *map(int, self.size.split("x")))
            else:
                clip = self.clips[self.size]
                yield clip[number % len(clip)][0]
            number += 1

    def run(self) -> None:
        """Push pictures for ever: timestamps follow the clock over a pause, numbers go on where they were."""
        self._pipeline.set_state(Gst.State.PLAYING)
        pictures, started = self._pictures(), time.monotonic()
        due = started
        while True:
            due = max(due, self.paused_until)
            time.sleep(max(0.0, due - time.monotonic()))
            if self.paused_until > due:
                continue
            if time.monotonic() - due > LATE_S:
                due = time.monotonic()
            buffer = Gst.Buffer.new_wrapped(next(pictures))
            buffer.pts = int((due - started) * Gst.SECOND)
            self._source.emit("push-buffer", buffer)
            due += 1 / self.fps


class Relays:
    """Hands the camera's packets to the RTSP sessions that are playing, less those that get lost."""

    def __init__(self, loss: float, mute: bool, seed: int) -> None:
        self.loss, self.mute = loss, mute
        self._random = random.Random(seed)
        self._shift = 0
        self._first = self._newest = 0
        self._caps: Any = None
        self._header = b""
        self._playing: list[Any] = []
        self.ready = threading.Event()

    def jump(self, seconds: float) -> None:
        self._shift += round(seconds * RTP_HZ)

    def restart_timestamps(self) -> None:
        self._shift -= self._newest - self._first

    def add(self, media: Any) -> None:
        relay = media.get_element().get_child_by_name("pay0")
        relay.set_property("caps", self._caps)
        media.connect("unprepared", lambda _: self._playing.remove(relay))
        if self.mute:
            # An RTSP session is not answered before it has one packet: this one holds nothing to decode.
            relay.emit("push-buffer", Gst.Buffer.new_wrapped(self._header + b"\x0c\xff\x80"))
        self._playing.append(relay)

    def send(self, packet: bytes, caps: Any) -> None:
        stamp = struct.unpack_from(">I", packet, 4)[0]
        if self._caps is None:
            self._first = stamp
        self._caps, self._header = caps, packet[:RTP_HEADER]
        self._newest = stamp + self._shift
        self.ready.set()
        if self.mute or self._random.random() < self.loss:
            return
        moved = packet[:4] + struct.pack(">I", self._newest & 0xFFFFFFFF) + packet[8:]
        for relay in list(self._playing):
            relay.emit("push-buffer", Gst.Buffer.new_wrapped(moved))


def lock(server: Any, factory: Any, options: argparse.Namespace) -> None:
    """Let only one user in."""
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if options.digest:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(options.user, options.password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, options.password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for right in ("access", "construct"):
        permissions.add_permission_for_role("user", f"media.factory.{right}", True)
    factory.set_permissions(permissions)


def serve(options: argparse.Namespace, relays: Relays) -> Any:
    server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    factory.set_launch(
        "( appsrc name=pay0 is-live=true format=time do-timestamp=true max-buffers=400 leaky-type=downstream )"
    )
    # A session that got stuck must not take those after it along.
    factory.set_shared(False)
    factory.connect("media-configure", lambda _, media: relays.add(media))
    if options.user:
        lock(server, factory, options)
    server.get_mount_points().add_factory(options.path, factory)
    if server.attach(None) == 0:
        sys.exit(f"port {options.port} cannot be had")
    return server


def commands(camera: Camera, relays: Relays) -> dict[str, Callable[[str], None]]:
    """Return what can be asked for on stdin."""
    return {
        "size": camera.change_size,
        "pause": lambda seconds: setattr(camera, "paused_until", time.monotonic() + float(seconds)),
        "loss": lambda share: setattr(relays, "loss", float(share)),
        "mute": lambda on: setattr(relays, "mute", on == "on"),
        "jump": lambda seconds: relays.jump(float(seconds)),
        "restart-timestamps": lambda _: relays.restart_timestamps(),
    }


def obey(known: dict[str, Callable[[str], None]]) -> None:
    for line in sys.stdin:
        name, _, value = line.strip().partition(" ")
        known[name](value)
        print("OK", flush=True)
    # Whoever started us is gone, perhaps killed: nothing may be left behind.
    os._exit(0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--path", default="/live")
    parser.add_argument("--clip", action="append", default=[], metavar="WxH=FILE", help="access units to loop")
    parser.add_argument("--clock", action="store_true", help="no clip: the wall clock in the pixels")
    parser.add_argument("--size", required=True, metavar="WxH", help="in clock mode a multiple of 16x12")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--gop", type=int, default=15, help="frames, in clock mode")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets")
    parser.add_argument("--seed", type=int, default=0, help="of the loss")
    parser.add_argument("--mute", action="store_true", help="answer every request, send no frame")
    return parser.parse_args()


def main() -> None:
    options = parse()
    # The server asks what stands in for a payloader for properties that it can do without.
    warnings.filterwarnings("ignore", "g_object_get_is_valid_property")
    Gst.init(None)
    relays = Relays(options.loss, options.mute, options.seed)
    camera = Camera(options, relays.send)
    threading.Thread(target=camera.run, daemon=True).start()
    # A session is described by the camera's own caps, parameter sets included: they come with its first packet.
    relays.ready.wait()
    server = serve(options, relays)
    print("READY", server.get_bound_port(), flush=True)
    threading.Thread(target=obey, args=(commands(camera, relays),), daemon=True).start()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
