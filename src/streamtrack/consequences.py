"""What follows from the settings for a source of a given rate: frames turned into seconds, and seconds into frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from streamtrack.config import Lifetime, Resolved, lifetime
from streamtrack.settings import Config
from streamtrack.sources.sampling import Sampler, choose

_LINES = (1080, 480)
_MINUTE_S, _HOUR_S, _LONG_S = 60, 3600, 1e8


class Consequence(NamedTuple):
    """One thing that follows."""

    name: str
    """For programs."""
    label: str
    text: str
    """For people: half a sentence."""
    values: dict[str, Any]
    """The numbers in it, with the unit in their names."""


class Cadence(NamedTuple):
    """How often something that is meant every so many source frames really falls due."""

    processed_frames: int
    seconds: float


def cadence(source_frames: float, rate: float, sample_rate: float) -> Cadence:
    """Return how often ``source_frames`` are up, seen only at the frames that are looked at.

    Args:
        source_frames: as a setting has it.
        rate: frames a second of the source.
        sample_rate: frames a second that are looked at.
    """
    # As ``Throttle.every_frames`` has it: half a frame short.
    steps = max(1, math.ceil(max(0.0, source_frames - 0.5) * (sample_rate / rate) - 1e-9))
    return Cadence(steps, steps / sample_rate)


def consequences(resolved: Resolved, rate: float) -> list[Consequence]:
    """Return all that follows.

    Args:
        resolved: the settings.
        rate: frames a second of the source, above 0.
    """
    settings = resolved.config
    sampler = choose(settings.source.stride, settings.source.fps, rate)
    kept = lifetime(settings.tracker, sampler.rate)
    return [
        _looked_at(sampler),
        _detections(settings),
        *_lost_tracks(settings, kept, rate, sampler),
        _cuts(settings),
        _samples(settings),
        _crops(settings, rate, sampler),
        _embeddings(settings, rate, sampler),
        _pictures(settings, sampler),
        _progress(settings, sampler),
        *_effort(settings, sampler),
        _live(settings),
    ]


def _looked_at(sampler: Sampler) -> Consequence:
    minute = sampler.rate * _MINUTE_S
    text = (
        f"{sampler.text}: {sampler.rate:.3g} a second, {minute:.4g} a minute of video, one every {_s(1 / sampler.rate)}"
    )
    values = {"text": sampler.text, "fps": sampler.rate, "frames_a_minute": minute, "step_s": 1 / sampler.rate}
    return Consequence("sampling", "Frames looked at", text, values)


def _detections(settings: Config) -> Consequence:
    detector, tracker = settings.detector, settings.tracker
    text = f"scored {detector.confidence_th:g} or more"
    if detector.adaptive:
        low, high = (detector.confidence_th * share for share in (detector.adaptive_min, detector.adaptive_max))
        text += f" in ordinary light, and from {low:g} to {high:g} as the light is"
    if detector.min_size:
        shares = " or ".join(f"{detector.min_size / lines:.0%} of {lines}" for lines in _LINES)
        text += f", with a shorter side of {detector.min_size:g} px or more ({shares} lines)"
    text += f"; one of {tracker.new_thresh:g} or more begins a track, weaker ones only keep tracks alive"
    return Consequence("detections", "Detections", text, {"floor": detector.floor, "min_size_px": detector.min_size})


def _lost_tracks(settings: Config, kept: Lifetime, rate: float, sampler: Sampler) -> Iterator[Consequence]:
    tracker, step = settings.tracker, rate / sampler.rate
    buffer = f"{tracker.track_buffer:g} frames looked at"
    if step.is_integer():
        buffer = f"{tracker.track_buffer:g} x {step:g} = {tracker.track_buffer * step:g} source frames"
    assert kept.track_buffer_s is not None
    yield Consequence("track_buffer", "track_buffer", f"{buffer} = {_s(kept.track_buffer_s)}", {})
    frames = f"{kept.max_gap_s * rate:.4g} source frames, {kept.max_gap_s * sampler.rate:.3g} of them looked at"
    yield Consequence("max_gap_s", "max_gap_s", f"{_s(kept.max_gap_s)} = {frames}", {})
    text = (
        f"{kept.binds} binds, the shorter of the two: a track that is found again within {_s(kept.seconds)} "
        "keeps its id, one that is gone for longer ends"
    )
    values = {
        "track_buffer_s": kept.track_buffer_s,
        "max_gap_s": kept.max_gap_s,
        "binds": kept.binds,
        "seconds": kept.seconds,
        "source_frames": kept.seconds * rate,
        "processed_frames": kept.seconds * sampler.rate,
    }
    yield Consequence("keeps_id", "Lost tracks", text, values)


def _cuts(settings: Config) -> Consequence:
    scene = settings.scene
    text = (
        f"end all tracks: the pictures must differ by {scene.cut_threshold:.0%} and by much more than those before; "
        f"no second cut within {_s(scene.min_shot_s)}"
    )
    if not scene.cuts:
        text = "are not looked for: tracks may go on through one"
    return Consequence("cuts", "Scene cuts", text, {"on": scene.cuts})


def _samples(settings: Config) -> Consequence:
    most = settings.output.samples_per_track
    text = f"at most {most} boxes of each in tracks.jsonl, spread over its life; every box is in detections.jsonl"
    return Consequence("track_samples", "Track samples", text, {"most": most})


def _crops(settings: Config, rate: float, sampler: Sampler) -> Consequence:
    if not settings.output.save_crops:
        return Consequence("crops", "Crops", "none are written: output.save_crops is off", {"on": False})
    crops, due = settings.crops, cadence(settings.crops.every_frames, rate, sampler.rate)
    text = (
        f"a candidate a track {_due(due)}; it is kept if scored above {crops.min_confidence:g}, above "
        f"{crops.min_size:g} px and of quality {crops.min_quality:g}, the best {crops.max_crops_per_track} a track"
    )
    return Consequence("crops", "Crops", text, {"on": True, **due._asdict()})


def _embeddings(settings: Config, rate: float, sampler: Sampler) -> Consequence:
    embedder = settings.embedder
    if not embedder.model:
        return Consequence("embeddings", "Embeddings", "none: embedder.model is empty", {"on": False})
    due = cadence(embedder.every_frames, rate, sampler.rate)
    text = f"one a track {_due(due)}, of the best picture in that time"
    return Consequence("embeddings", "Embeddings", text, {"on": True, **due._asdict()})


def _pictures(settings: Config, sampler: Sampler) -> Consequence:
    minute = sampler.rate * _MINUTE_S * settings.output.save_frames
    text = f"every frame looked at is written as a JPEG, {minute:.4g} a minute of video"
    text = text if minute else "none are written: output.save_frames is off"
    return Consequence("frames", "Frame pictures", text, {"on": bool(minute), "files_a_minute": minute})


def _progress(settings: Config, sampler: Sampler) -> Consequence:
    frames = settings.output.progress_every
    seconds = frames / sampler.rate
    text = f"progress.json is replaced every {frames} processed frames = {_s(seconds)} of video"
    return Consequence("progress", "Progress", text, {"processed_frames": frames, "seconds": seconds})


def _effort(settings: Config, sampler: Sampler) -> Iterator[Consequence]:
    runtime = settings.runtime
    hour_s = _HOUR_S * sampler.rate / runtime.max_fps if runtime.max_fps else None
    text = "as fast as the machine goes, until the video ends"
    if hour_s is not None:
        text = (
            f"at most {runtime.max_fps:g} processed frames a second of wall time, with pauses between: "
            f"an hour of video takes {_s(hour_s)} or longer"
        )
    yield Consequence("speed", "Speed", text, {"max_fps": runtime.max_fps, "hour_takes_at_least_s": hour_s})
    threads, decoding = runtime.threads, settings.source.threads or runtime.threads
    text = "inference and decoding take what the machine gives"
    if threads or decoding:
        text = f"{threads or 'as many as help'} for inference, {decoding or 'as many as help'} for decoding"
    text += f"; thread pools of numerical libraries are held to {max(threads, 1)}"
    yield Consequence("threads", "Threads", text, {"inference": threads, "decoding": decoding})


def _live(settings: Config) -> Consequence:
    stale_s, batch = settings.source.max_staleness_s, settings.detector.batch_size
    text = f"only the newest {'frame waits' if batch == 1 else f'{batch} frames wait'} for the detector"
    text += f", and none that is older than {_s(stale_s)}" if stale_s else ", however old"
    return Consequence("live", "Live feeds", text, {"max_staleness_s": stale_s, "waiting_frames": batch})


def _due(due: Cadence) -> str:
    frames = "frame" if due.processed_frames == 1 else f"{due.processed_frames} frames"
    return f"every {frames} looked at = {_s(due.seconds)}"


def _s(seconds: float) -> str:
    if not 2 * _MINUTE_S <= seconds < _LONG_S:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" + (f" {rest} s" if rest else "")
