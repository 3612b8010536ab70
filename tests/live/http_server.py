"""Files of a folder over HTTP, and its pictures as MJPEG: a child process of the tests, to be killed and frozen.

``/NAME`` is that file, ``/feed.mjpg`` every ``*.jpg`` in turn for ever, and ``/locked`` wants a password nobody has.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Handler(SimpleHTTPRequestHandler):
    fps = 25

    def do_GET(self) -> None:
        try:
            self.answer()
        except ConnectionError:
            self.close_connection = True

    def answer(self) -> None:
        if self.path == "/feed.mjpg":
            self.stream()
        elif self.path == "/locked":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="feed"')
            self.end_headers()
        else:
            super().do_GET()

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        pictures = [path.read_bytes() for path in sorted(Path(self.directory).glob("*.jpg"))]
        due = time.monotonic()
        for picture in itertools.cycle(pictures):
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + b"\r\n")
            due = max(due + 1 / self.fps, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def end_with_stdin() -> None:
    """Whoever started us is gone, perhaps killed: nothing may be left behind."""
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--fps", type=int, default=25)
    options = parser.parse_args()
    Handler.fps = options.fps
    server = ThreadingHTTPServer(("127.0.0.1", options.port), lambda *args: Handler(*args, directory=options.folder))
    print("READY", server.server_address[1], flush=True)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
