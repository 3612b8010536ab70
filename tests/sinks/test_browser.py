"""The report and the annotated video where their users open them: in a browser, from the disk."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path
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
<video id="video" src="annotated.mp4" muted preload="auto"></video><pre id="told"></pre>
<script>
const told = {}, video = document.getElementById("video"), page = document.getElementById("page");
const tell = more => document.getElementById("told").textContent = JSON.stringify(Object.assign(told, more));
video.onerror = () => tell({error: video.error.message});
video.onloadeddata = () => { video.currentTime = video.duration / 2; };
video.onseeked = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const drawing = canvas.getContext("2d");
  drawing.drawImage(video, 0, 0);
  tell({ready: video.readyState, duration: video.duration, size: [canvas.width, canvas.height],
    edge: Array.from(drawing.getImageData(60, 120, 1, 1).data.slice(0, 3))});
  video.play();
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


def seen_by_a_browser(folder: Path) -> dict[str, Any]:
    """Return what a page sees that looks at the outputs in ``folder``."""
    look = folder / "look.html"
    look.write_text(LOOK)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--no-first-run"]
    options += [f"--user-data-dir={folder / 'browser'}", "--virtual-time-budget=3000", "--dump-dom", look.as_uri()]
    done = subprocess.run(["chromium", *options], capture_output=True, text=True, timeout=90, check=True)
    (text,) = re.findall(r'<pre id="told">(.*?)</pre>', done.stdout)
    told: dict[str, Any] = json.loads(unescape(text))
    return told


@pytest.mark.requires(program="chromium", install="apt-get install chromium")
def test_a_browser_shows_the_report_and_plays_the_video(tmp_path: Path) -> None:
    report, video = ReportSink(), VideoSink(crf=5)
    for sink in (report, video):
        sink.open(make_info(tmp_path, rate=RATE))
        for result in story():
            sink.write(result)
        sink.close()
    report.conclude(make_told())
    told = seen_by_a_browser(tmp_path)
    colour = track_colour(3)
    assert "error" not in told
    assert (told["size"], told["duration"]) == ([320, 240], pytest.approx(FRAMES / RATE, abs=0.01))
    assert told["ready"] >= 2, "it has the picture it was asked for"
    assert told["at"] > FRAMES / RATE / 2, "it plays on"
    assert np.abs(np.subtract(told["edge"], colour)).max() < 30
    assert told["title"] == "synthetic.mp4: tracks"
    assert len(told["images"]) == 6
    assert min(told["images"]) > 0, "every picture is decoded"
    assert told["border"] == f"rgb{colour}"
    assert told["bars"] == [f"rgb{colour}"]
    assert told["overflow"] == 0
