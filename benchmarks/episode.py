"""An episode, cut together from clips whose faces are known, and what a run of it comes to beside what is wanted.

``python benchmarks/episode.py`` runs a short one of squares, with a model that finds them: what CI does, too.
``python benchmarks/episode.py write OUT.mp4 --clips FOLDER --minutes 42`` cuts one out of real clips (sample videos of
Intel's IoT DevKit, CC BY 4.0; see ``FACES``). Each shot plays a clip back and forth for 10 to 60 s, slowly panning, so
that nothing jumps inside it; between shots is a hard cut. The same arguments give the same shots, kept in OUT.json.
``python benchmarks/episode.py run EPISODE.mp4 [--model MODEL] [--embedder MODEL]`` tracks it and prints the table.
``python benchmarks/episode.py hour EPISODE.mp4 --profiles fast_cpu,balanced`` repeats its packets to an hour of video,
and tells how long each profile takes for it.

The targets are those of a documented pipeline that had to be rescued from 4,352 tracks in an episode of 42 minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame

import streamtrack
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import SIDE, write_square_detector

FPS = 30
STRIDE = 6
MAX_GAP_S = 2.5
MARGIN = 1.1
"""A clip is this much larger than the picture, to have room to pan in."""
LONGEST_CLIP = 120  # frames that are kept of a clip

FACES = {
    "head-pose-face-detection-male.gif": 1,
    "face-demographics-walking.gif": 2,
    "again.mkv": 1,
    "book.mkv": 1,
}
"""Faces of the clips that are used, counted by eye."""
PASSING = {"face-demographics-walking.gif"}
"""Clips whose people walk past: near for a moment, then gone for longer than a track is kept, over and over."""


class Shot(NamedTuple):
    """A piece of an episode without a cut in it."""

    start: int
    end: int
    """Frame indexes; the end is exclusive."""
    clip: str
    faces: int


@dataclass(frozen=True)
class Clip:
    """What a shot plays: pictures in yuv420p, larger than the episode's, and how many faces are in them."""

    name: str
    planes: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
    hold: int
    """Frames of the episode that each picture lasts."""
    faces: int

    def frame(self, number: int, width: int, height: int) -> VideoFrame:
        """Return the ``number``-th frame of a shot: the clip goes back and forth, the camera pans slowly."""
        there = len(self.planes)
        step = (number // self.hold) % max(1, 2 * there - 2)
        luma, *chroma = self.planes[step if step < there else 2 * there - 2 - step]
        x = int((luma.shape[1] - width) * (0.5 + 0.5 * np.sin(number / 150))) // 2 * 2
        y = int((luma.shape[0] - height) * (0.12 + 0.12 * np.cos(number / 190))) // 2 * 2  # heads are near the top
        window = [luma[y : y + height, x : x + width].ravel()]
        window += [c[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2].ravel() for c in chroma]
        return VideoFrame.from_ndarray(np.concatenate(window).reshape(height * 3 // 2, width), format="yuv420p")


def _planes(frame: VideoFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    width, height = frame.width, frame.height
    flat = frame.to_ndarray(format="yuv420p").ravel()
    luma, chroma = width * height, width * height // 4
    u, v = flat[luma : luma + chroma], flat[luma + chroma :]
    return flat[:luma].reshape(height, width), u.reshape(height // 2, -1), v.reshape(height // 2, -1)


def real_clips(folder: Path, width: int, height: int) -> list[Clip]:
    """Return the clips of ``FACES`` that are in ``folder``, large enough to cover ``width`` x ``height``."""
    clips = []
    for name, faces in FACES.items():
        with av.open(str(folder / name)) as container:
            stream = container.streams.video[0]
            scale = MARGIN * max(width / stream.width, height / stream.height)
            # Multiples of 8: a plane view has no padding then.
            w, h = (-(-int(side * scale) // 8) * 8 for side in (stream.width, stream.height))
            frames = []
            for frame in container.decode(stream):
                frames.append(_planes(frame.reformat(w, h, "yuv420p", interpolation="BICUBIC")))
                if len(frames) == LONGEST_CLIP:
                    break
            clips.append(Clip(name, frames, max(1, round(FPS / float(stream.average_rate or FPS))), faces))
    return clips


def square_clips(width: int, height: int) -> list[Clip]:
    """Return clips of one to three white squares on different grounds without red, all that the model sees."""
    w, h = (-(-int(side * MARGIN) // 8) * 8 for side in (width, height))
    side = SIDE * width // 640  # the model looks at the picture 640 px wide
    clips = []
    for faces in (1, 2, 3):
        rng = np.random.default_rng(faces)
        ground = np.kron(rng.integers(16, 90, (6, 10), np.uint8), np.ones((-(-h // 6), -(-w // 10)), np.uint8))[:h, :w]
        frames = []
        for step in range(60):
            luma, blue = ground.copy(), np.full((h // 2, w // 2), 90 + 40 * faces, np.uint8)
            red = np.full_like(blue, 64)
            for face in range(faces):
                x, y = w // 8 + face * w // 3 + step * w // 700, h // 4 + face * h // 10 + step * w // 1400
                luma[y : y + side, x : x + side] = 235
                for plane in (blue, red):
                    plane[y // 2 : (y + side + 1) // 2, x // 2 : (x + side + 1) // 2] = 128
            frames.append((luma, blue, red))
        clips.append(Clip(f"{faces} squares", frames, 1, faces))
    return clips


def write_episode(out: Path, clips: Sequence[Clip], size: tuple[int, int], seconds: float, *, seed: int = 1,
                  shot_s: tuple[int, int] = (10, 60), preset: str = "veryfast") -> list[Shot]:  # fmt: skip
    """Write an episode to ``out`` and its shots to ``out`` with the suffix ``.json``; return them."""
    rng = random.Random(seed)
    total, shots = round(seconds * FPS), []
    playing: list[Clip] = []
    while not shots or shots[-1].end < total:
        clip = rng.choice([clip for clip in clips if clip not in playing[-1:]])
        start = shots[-1].end if shots else 0
        end = min(total, start + rng.randint(shot_s[0] * FPS, shot_s[1] * FPS))
        shots.append(Shot(start, end, clip.name, clip.faces))
        playing.append(clip)

    def frames() -> Iterator[VideoFrame]:
        for shot, clip in zip(shots, playing, strict=True):
            for number in range(shot.end - shot.start):
                yield clip.frame(number, *size)

    write_clip(out, frames(), rate=FPS, options={"preset": preset, "crf": "23"})
    out.with_suffix(".json").write_text(json.dumps({"fps": FPS, "shots": [shot._asdict() for shot in shots]}, indent=1))
    return shots


def read_shots(episode: Path) -> list[Shot]:
    """Return the shots of an episode that ``write_episode`` wrote."""
    return [Shot(**{key: shot[key] for key in Shot._fields}) for shot in _json(episode.with_suffix(".json"))["shots"]]


def repeat(episode: Path, out: Path, seconds: float) -> None:
    """Write the packets of ``episode`` again and again, until ``seconds`` of video are reached."""
    with av.open(str(out), "w") as target:
        copy, offset = None, 0
        while copy is None or offset * copy.time_base < seconds:
            with av.open(str(episode)) as source:
                stream = source.streams.video[0]
                copy = copy or target.add_stream_from_template(stream)
                copy.time_base = stream.time_base
                unit, end = stream.time_base, 0
                for packet in source.demux(stream):
                    if packet.dts is None or offset * unit + packet.pts * unit >= seconds:
                        continue
                    end = max(end, packet.pts + packet.duration)
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, copy
                    target.mux(packet)
                offset += end


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass(frozen=True)
class Continuity:
    """How the tracks of a run compare with the shots they are in."""

    tracks: int
    """Of shots whose faces stay in view."""
    true: int
    """Faces of those shots, each once."""
    visits: int
    """Tracks of people who walk past."""
    across: int
    """Tracks that go on behind a cut."""
    broken: int
    """Tracks that begin inside a shot, within the gap after another one of it ended: likely the same face."""
    exact: int
    """Shots with as many tracks as faces."""


def continuity(tracks: Sequence[Mapping[str, Any]], shots: Sequence[Shot], stride: int) -> Continuity:
    """Compare tracks, as in ``tracks.jsonl``, with the shots of the episode."""
    across = broken = exact = visits = 0
    for shot in shots:
        inside = [track["frame_span"] for track in tracks if shot.start <= track["frame_span"][0] < shot.end]
        exact += len(inside) == shot.faces
        visits += len(inside) * (shot.clip in PASSING)
        across += sum(end >= shot.end for _, end in inside)
        broken += sum(
            any(0 < start - end <= MAX_GAP_S * FPS for _, end in inside)
            for start, _ in inside
            if start >= shot.start + stride
        )
    true = sum(shot.faces for shot in shots if shot.clip not in PASSING)
    return Continuity(len(tracks) - visits, true, visits, across, broken, exact)


Row = tuple[str, str, str]


def measure(episode: Path, out: Path, stride: int = STRIDE, **how: Any) -> dict[str, Any]:
    """Track ``episode`` into ``out``; return what its files say."""
    streamtrack.run(episode, out=out, overwrite=True, stride=stride, **how)
    return {"metrics": _json(out / "track_metrics.json"), "tracks": _lines(out / "tracks.jsonl"), "stride": stride}


def table(found: Mapping[str, Any], shots: Sequence[Shot]) -> list[Row]:
    """Return what was wanted and what was measured, as (what, target, measured)."""
    metrics, tracks, stride = found["metrics"], found["tracks"], found["stride"]
    frames, process = shots[-1].end, metrics["process"]
    seen = sum(track["frame_count"] for track in tracks)
    held = continuity(tracks, shots, stride)
    totals, samples = metrics["totals"], max((len(track["bboxes_sampled"]) for track in tracks), default=0)
    wanted, cuts = -(-frames // stride), len(shots) - 1
    staying = sum(shot.clip not in PASSING for shot in shots)
    rows = [
        ("frames processed", f"{wanted:,}", f"{totals['frames_processed']:,}"),
        ("progress events", f"{wanted // 30:,}", f"{totals['progress_events']:,}"),
        ("samples of a track, at most", "8", f"{samples}"),
        ("tracks of faces that stay in view", f"{held.true}", f"{held.tracks}"),
        ("tracks of people who walk past", "one a visit", f"{held.visits}"),
        ("shots with as many tracks as faces", f"{staying} of {len(shots)}", f"{held.exact}"),
        ("tracks across a cut", "0", f"{held.across}"),
        ("tracks that may be the same face again", "0", f"{held.broken}"),
        ("cuts", f"{cuts}", f"{totals['cuts']}"),
    ]
    sinks = metrics.get("sinks", {})
    if "embeddings" in sinks:
        # A pipeline without gates embeds every face of every frame.
        every, made = stride * seen, sinks["embeddings"]["embedded"]
        rows.append(("embeddings", f"about 97 % fewer than {every:,}", f"{made:,}, {1 - made / every:.1%} fewer"))
    if "crops" in sinks:
        rows += _crop_rows(sinks["crops"], seen)
    rows += [
        (f"CPU of {name}", "", f"{1000 * stage['cpu_s'] / frames:.2f} ms a source frame")
        for name, stage in metrics["stages"].items()
    ]
    rows += [
        ("CPU in all", "", f"{process['cpu_ms_per_source_frame']:.2f} ms a source frame"),
        ("wall time, of real time", "", f"{process['wall_s']:.0f} s, {process['wall_s'] * FPS / frames:.1%}"),
        ("memory at most", "", f"{process['peak_memory_mb']:.0f} MB"),
    ]
    return rows


def _crop_rows(crops: Mapping[str, int], seen: int) -> list[Row]:
    candidates, kept = crops["candidates"], crops["kept"]
    refused = {name: count for name, count in crops.items() if name not in ("candidates", "kept") and count}
    shown = ", ".join(f"{name} {count / candidates:.1%}" for name, count in refused.items())
    return [
        ("crop candidates", f"fewer than {seen:,}", f"{candidates:,}"),
        ("crops refused", "90 to 92 %", f"{1 - kept / candidates:.1%}: {shown}"),
        ("crops kept", "", f"{kept:,}"),
    ]


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    print(f"| {'what':45} | {'wanted':30} | measured |\n|---|---|---|")
    for what, target, measured in rows:
        print(f"| {what:45} | {target:30} | {measured} |")


def run_squares(folder: Path, seconds: float) -> tuple[dict[str, Any], list[Shot]]:
    """Run a short episode of squares in ``folder``."""
    size, episode = (640, 384), folder / "episode.mp4"
    shots = write_episode(episode, square_clips(*size), size, seconds, shot_s=(3, 6), preset="ultrafast")
    model = write_square_detector(folder / "squares.onnx")
    settings = {"detector.input_size": 640, "output.save_frames": False, "output.save_crops": True}
    # Squares are small and have no features to speak of.
    settings |= {"detector.min_size": 20, "crops.min_size": 20, "crops.min_quality": 0}
    return measure(episode, folder / "run", model=str(model), set=settings), shots


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", nargs="?", choices=("write", "run", "hour"))
    parser.add_argument("episode", nargs="?", type=Path)
    parser.add_argument("--clips", type=Path, help="folder of the real clips")
    parser.add_argument("--minutes", type=float, default=42)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--preset", default="veryfast", help="of x264, whose other options are its defaults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stride", type=int, default=STRIDE)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--embedder", default="")
    parser.add_argument("--profiles", default="fast_cpu,balanced")
    parser.add_argument("--out", type=Path, help="folder of the run (default: one that is removed)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if args.do == "write":
            size = tuple(map(int, args.size.split("x")))
            clips = real_clips(args.clips, *size)
            shots = write_episode(args.episode, clips, size, args.minutes * 60, seed=args.seed, preset=args.preset)
            print(f"{len(shots)} shots, {sum(shot.faces for shot in shots)} faces")
        elif args.do == "run":
            settings = {"output.save_frames": False, "output.save_crops": True, "embedder.model": args.embedder}
            out = args.out or Path(scratch)
            found = measure(args.episode, out, args.stride, model=args.model, set=settings)
            show(table(found, read_shots(args.episode)))
        elif args.do == "hour":
            hour = args.episode
            if _duration_s(hour) < 3600:
                hour = Path(scratch) / "hour.mp4"
                repeat(args.episode, hour, 3600)
            for profile in args.profiles.split(","):
                show_hour(hour, profile, args.model, args.out or Path(scratch) / profile)
        else:
            show(table(*run_squares(Path(scratch), 30)))


def _duration_s(video: Path) -> Fraction:
    with av.open(str(video)) as container:
        return Fraction(container.duration or 0, av.time_base)


def show_hour(hour: Path, profile: str, model: str, out: Path) -> None:
    """Run one profile as it is over ``hour`` and print how long it took."""
    metrics = streamtrack.run(hour, out=out, overwrite=True, profile=profile, model=model).metrics
    minutes, seconds = divmod(round(metrics.process.wall_s), 60)
    stages = ", ".join(f"{name} {stage.cpu_s:.0f}" for name, stage in metrics.stages.items())
    print(
        f"{profile}: {metrics.frame_ledger['seen']:,} source frames, {metrics.totals['frames_processed']:,} processed, "
        f"in {minutes}:{seconds:02} with {metrics.process.cpu_s / metrics.process.wall_s:.2f} cores; CPU s: {stages}"
    )


def test_an_episode_of_squares_has_a_track_for_each_and_none_across_a_cut(tmp_path: Path) -> None:
    found, shots = run_squares(tmp_path, 15)
    held = continuity(found["tracks"], shots, STRIDE)
    assert (held.tracks, held.across, held.broken, held.exact) == (held.true, 0, 0, len(shots))
    totals = found["metrics"]["totals"]
    assert (totals["frames_processed"], totals["cuts"]) == (75, len(shots) - 1)
    assert max(len(track["bboxes_sampled"]) for track in found["tracks"]) <= 8


def test_what_is_wrong_with_tracks_is_counted() -> None:
    (passing,) = PASSING
    shots = [Shot(0, 300, "one", 1), Shot(300, 600, "two", 2), Shot(600, 900, passing, 2)]
    # One through the cut; one that begins 1 s after another has ended; one 3 s after it, which is another visit.
    spans = [(0, 306), (300, 400), (302, 590), (430, 500), (600, 640), (730, 780)]
    found = continuity([{"frame_span": span} for span in spans], shots, STRIDE)
    assert found == Continuity(tracks=4, true=3, visits=2, across=1, broken=1, exact=2)


def test_an_hour_is_made_of_the_same_packets(tmp_path: Path) -> None:
    size = (320, 192)
    write_episode(tmp_path / "e.mp4", square_clips(*size), size, 2, shot_s=(1, 1), preset="ultrafast")
    repeat(tmp_path / "e.mp4", tmp_path / "long.mp4", 5)
    with av.open(str(tmp_path / "long.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(5 * FPS) / FPS, atol=1e-3)


if __name__ == "__main__":
    main()
