"""The report and the annotated video where their users open them: in a browser, from the disk."""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from streamtrack.sinks._draw import track_colour
from streamtrack.sinks.report import ReportSink
from streamtrack.sinks.video import VideoSink
from streamtrack.testing.results import ArrayPicture, make_info, make_result
from streamtrack.types import Frame, Result

from .report_samples import BOX, make_told

FRAMES, RATE = 30, 25
LOOK = """<!doctype html><html><body>
<iframe id="page" src="report.html" width="1200" height="900"></iframe>
<video id="video" src="annotated.mp4" muted preload="auto"></video>
<script>
const told = {}, video = document.getElementById("video"), page = document.getElementById("page");
const tell = more => {
  Object.assign(told, more);
  if (told.error || (told.title && told.edge && told.at > told.duration / 2))
    fetch("LISTENER", {method: "POST", mode: "no-cors", body: JSON.stringify(told)});
};
video.onerror = () => tell({error: video.error.message});
video.onloadeddata = () => { video.currentTime = video.duration / 2; };
// That it has sought does not say that there is a picture to be seen; only this does.
video.onseeked = () => { video.requestVideoFrameCallback(look); video.play(); };
const look = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const drawing = canvas.getContext("2d");
  drawing.drawImage(video, 0, 0);
  tell({ready: video.readyState, duration: video.duration, size: [canvas.width, canvas.height],
    edge: Array.from(drawing.getImageData(60, 120, 1, 1).data.slice(0, 3))});
};
video.ontimeupdate = () => tell({at: video.currentTime});
page.onload = () => {
  const found = page.contentDocument, view = page.contentWindow;
  tell({title: found.title, images: [...found.images].map(image => image.naturalWidth),
    border: view.getComputedStyle(found.querySelector(".card")).borderLeftColor,
    bars: [...found.querySelectorAll("svg .seen")].map(bar => view.getComputedStyle(bar).fill),
    overflow: found.documentElement.scrollWidth - found.documentElement.clientWidth});
};
</script></body></html>
"""


def story() -> list[Result]:
    picture = ArrayPicture(np.full((240, 320, 3), 90, np.uint8))
    frames = [Frame(n, round(n * 1e9 / RATE), 320, 240, picture) for n in range(FRAMES)]
    return [make_result(frame, [(3, BOX)], keypoints=0) for frame in frames]


class Listener(BaseHTTPRequestHandler):
    """Hands on what is posted to it."""

    told: SimpleQueue[bytes]

    def do_POST(self) -> None:
        self.told.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def told() -> Iterator[tuple[str, SimpleQueue[bytes]]]:
    """A URL, and the queue of what is posted to it."""
    queue: SimpleQueue[bytes] = SimpleQueue()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Listener,), {"told": queue})) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", queue
        server.shutdown()
        thread.join()


def seen_by_a_browser(folder: Path, listener: tuple[str, SimpleQueue[bytes]]) -> dict[str, Any]:
    """Return what a page sees that looks at the outputs in ``folder``, once it has seen them all."""
    url, answers = listener
    look = folder / "look.html"
    look.write_text(LOOK.replace("LISTENER", url))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--no-first-run"]
    options += ["--autoplay-policy=no-user-gesture-required", f"--user-data-dir={folder / 'browser'}"]
    # Not in virtual time: that runs out while a video is still being decoded.
    with subprocess.Popen(["chromium", *options, look.as_uri()], stderr=subprocess.DEVNULL) as browser:
        try:
            found: dict[str, Any] = json.loads(answers.get(timeout=60))
        finally:
            browser.terminate()
    return found


@pytest.mark.requires(program="chromium", install="apt-get install chromium")
def test_a_browser_shows_the_report_and_plays_the_video(told: tuple[str, SimpleQueue[bytes]], tmp_path: Path) -> None:
    report, video = ReportSink(), VideoSink(crf=5)
    for sink in (report, video):
        sink.open(make_info(tmp_path, rate=RATE))
        for result in story():
            sink.write(result)
        sink.close()
    report.conclude(make_told())
    seen = seen_by_a_browser(tmp_path, told)
    colour = track_colour(3)
    assert "error" not in seen
    assert (seen["size"], seen["duration"]) == ([320, 240], pytest.approx(FRAMES / RATE, abs=0.01))
    assert seen["ready"] >= 2, "it has the picture it was asked for"
    assert seen["at"] > FRAMES / RATE / 2, "it plays on"
    assert np.abs(np.subtract(seen["edge"], colour)).max() < 30
    assert seen["title"] == "synthetic.mp4: tracks"
    assert len(seen["images"]) == 6
    assert min(seen["images"]) > 0, "every picture is decoded"
    assert seen["border"] == f"rgb{colour}"
    assert seen["bars"] == [f"rgb{colour}"]
    assert seen["overflow"] == 0
