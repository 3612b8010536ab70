"""Traps among the settings: combinations that are allowed, and do something else than one thinks.

Each rule looks at the settings and at what is known of the source and the machine. A warning is a thing to change; a
note says how something works out. What nobody asked for is at most a note, where it does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import msgspec

from streamtrack.config import Resolved, lifetime
from streamtrack.consequences import cadence
from streamtrack.settings import Config

# A face as high as this share of the picture is a portrait.
_LARGE_SHARE = 0.15
_ALL_SCORES = 0.95
_DAY_S = 86_400


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One trap."""

    key: str
    """The setting to look at."""
    level: Literal["warning", "note"]
    what: str
    """What happens."""
    do: str
    """What to do."""

    def __str__(self) -> str:
        return f"{self.key}: {self.what}; {self.do}"


class Surroundings(NamedTuple):
    """What is known of the source and the machine; 0 for what is not."""

    rate: float = 0.0
    """Frames a second of the source."""
    sample_rate: float = 0.0
    """Frames a second that are looked at."""
    live: bool = False
    width: int = 0
    height: int = 0
    """Size of the pictures in px."""
    cores: int = 0


class _Case(NamedTuple):
    settings: Config
    origins: dict[str, str]
    around: Surroundings

    def asked(self, *keys: str) -> bool:
        """Tell whether somebody gave one of the settings a value by hand: a profile's author knew the others."""
        return any(not self.origins.get(key, "profile").startswith("profile") for key in keys)

    @property
    def step_s(self) -> float:
        """Seconds from one frame that is looked at to the next; 0 where that is not known."""
        return 1 / self.around.sample_rate if self.around.sample_rate else 0.0


def lint(resolved: Resolved, around: Surroundings) -> list[Finding]:
    """Return the traps in the settings of a run, warnings first.

    Args:
        resolved: the settings.
        around: what is known of the source and the machine.
    """
    case = _Case(resolved.config, resolved.origins, around)
    found = [finding for rule in _RULES for finding in rule(case)]
    return sorted(found, key=lambda finding: finding.level != "warning")


def _warning(key: str, what: str, do: str) -> Finding:
    return Finding(key=key, level="warning", what=what, do=do)


def _note(key: str, what: str, do: str) -> Finding:
    return Finding(key=key, level="note", what=what, do=do)


def _floor(case: _Case) -> Iterator[Finding]:
    detector, tracker, key = case.settings.detector, case.settings.tracker, "detector.confidence_th"
    if detector.confidence_th > tracker.new_thresh:
        yield _warning(
            key,
            f"nothing below {detector.confidence_th:g} reaches the tracker, so that its thresholds mean nothing: faces "
            "that the model scores lower are in no file and no count, and there may be no track at all",
            f"set it to {tracker.low_thresh:g}, and raise tracker.new_thresh instead to be stricter",
        )
    elif detector.confidence_th >= tracker.high_thresh:
        yield _warning(
            key,
            f"nothing below {detector.confidence_th:g} reaches the tracker, whose second association is for scores "
            f"from {tracker.low_thresh:g} to {tracker.high_thresh:g}: tracks break where a face is dim or turned away",
            f"set it to {tracker.low_thresh:g}",
        )


def _thresholds(case: _Case) -> Iterator[Finding]:
    tracker = case.settings.tracker
    if tracker.new_thresh < tracker.high_thresh:
        yield _warning(
            "tracker.new_thresh",
            f"only detections above tracker.high_thresh ({tracker.high_thresh:g}) may begin a track, so "
            f"{tracker.new_thresh:g} has no effect",
            f"set it to {tracker.high_thresh:g} or more, or lower tracker.high_thresh",
        )
    if tracker.low_thresh >= tracker.high_thresh:
        yield _warning(
            "tracker.low_thresh",
            f"no score lies between it and tracker.high_thresh ({tracker.high_thresh:g}), so the second association, "
            "which keeps dim faces, has nothing to do",
            "set it to 0.1",
        )
    if tracker.new_thresh > _ALL_SCORES:
        yield _warning(
            "tracker.new_thresh",
            f"hardly any detection scores {tracker.new_thresh:g}, and only such begin a track",
            "set it to 0.55",
        )
    if tracker.mode == "reference" and case.asked("tracker.min_track_s"):
        yield _warning("tracker.min_track_s", "tracker.mode=reference does not read it", "leave out one of the two")


def _lost(case: _Case) -> Iterator[Finding]:
    kept = lifetime(case.settings.tracker, case.around.sample_rate)
    if case.step_s and kept.seconds < case.step_s:
        yield _warning(
            f"tracker.{kept.binds}",
            f"a lost track is kept for {kept.seconds:.3g} s, and the next frame is looked at {case.step_s:.3g} s "
            "later: whoever is missed once gets a new id",
            f"keep tracks for {3 * case.step_s:.3g} s or more, or look at more frames",
        )


def _intervals(case: _Case) -> Iterator[Finding]:
    settings, around = case.settings, case.around
    step = f"{case.step_s * around.rate:.3g}"
    used = {"crops": settings.output.save_crops, "embedder": bool(settings.embedder.model)}
    for section, on in used.items():
        frames = (settings.crops if section == "crops" else settings.embedder).every_frames
        if not on or not around.rate or not around.sample_rate or not frames:
            continue
        key, due = f"{section}.every_frames", cadence(frames, around.rate, around.sample_rate)
        make = _warning if case.asked(key) else _note
        real = due.seconds * around.rate
        if frames / around.rate < case.step_s * 0.99:
            yield make(
                key,
                f"{frames:g} source frames are less than the step of {step}, so it falls due at every frame looked at",
                f"set it to 0 to say so, or to more than {step}",
            )
        elif abs(real - frames) > 0.5:
            yield make(
                key,
                f"{frames:g} source frames are no whole number of steps of {step}, so it falls due every {real:.3g} "
                f"source frames = {due.seconds:.3g} s",
                f"set it to {real:.3g} to say so; nothing is lost",
            )


def _exporters(case: _Case) -> Iterator[Finding]:
    output = case.settings.output
    if case.around.live and output.save_frames:
        a_day = (
            f"{case.around.sample_rate * _DAY_S:,.0f} pictures a day" if case.around.sample_rate else "no end of them"
        )
        yield _warning(
            "output.save_frames",
            f"a live feed does not end, and every frame looked at is written: {a_day}",
            "use --no-save-frames or --profile live",
        )
    if case.around.live and output.save_crops:
        yield _warning(
            "output.save_crops",
            "a live feed does not end, and every track leaves pictures",
            "use --no-save-crops, or see to the disk",
        )


def _sizes(case: _Case) -> Iterator[Finding]:
    least, side = case.settings.detector.min_size, min(case.around.width, case.around.height)
    if side and least > side:
        yield _warning(
            "detector.min_size",
            f"no face of {least:g} px fits into pictures of {case.around.width}x{case.around.height}: nothing is found",
            f"set it to {max(1, side // 20)}px",
        )
    elif side and least > _LARGE_SHARE * side:
        yield _warning(
            "detector.min_size",
            f"in pictures of {case.around.width}x{case.around.height}, faces lower than {least / side:.0%} of the "
            "picture are left out",
            f"set it to {max(1, side // 20)}px where they matter",
        )


def _crop_gates(case: _Case) -> Iterator[Finding]:
    crops, detector = case.settings.crops, case.settings.detector
    if not case.settings.output.save_crops:
        asked = [key for key in case.origins if key.startswith("crops.") and case.asked(key)]
        if asked:
            yield _warning(asked[0], "no crops are written", "add --save-crops, or leave it out")
        return
    for name in ("min_confidence", "min_quality"):
        if (value := getattr(crops, name)) > _ALL_SCORES:
            yield _warning(f"crops.{name}", f"hardly anything reaches {value:g}: no crops", "set it to 0.7 or so")
    side = min(case.around.width, case.around.height)
    if side and crops.min_size >= side:
        what = (
            f"no face in pictures of {case.around.width}x{case.around.height} is above {crops.min_size:g} px: no crops"
        )
        yield _warning("crops.min_size", what, f"set it to {max(1, side // 20)}px")
    elif crops.min_size < detector.min_size:
        make = _warning if case.asked("crops.min_size") else _note
        yield make(
            "crops.min_size",
            f"has no effect: detector.min_size leaves out what is under {detector.min_size:g} px before",
            "lower detector.min_size too, or leave it",
        )


def _pace(case: _Case) -> Iterator[Finding]:
    limit, wanted = case.settings.runtime.max_fps, case.around.sample_rate
    if not limit or not wanted or limit >= wanted:
        return
    if case.around.live:
        yield _warning(
            "runtime.max_fps",
            f"{wanted:.3g} frames a second are wanted and {limit:g} processed: {1 - limit / wanted:.0%} of them are "
            "dropped",
            f"set it to 0 or above {wanted:.3g}, or look at fewer: --fps {limit:g}",
        )
    else:
        yield _note(
            "runtime.max_fps",
            f"{wanted:.3g} frames a second are wanted and {limit:g} processed: it takes {wanted / limit:.2g} times as "
            "long as the video",
            "raise it where that is too slow",
        )


def _threads(case: _Case) -> Iterator[Finding]:
    given = {"runtime.threads": case.settings.runtime.threads, "source.threads": case.settings.source.threads}
    for key, threads in given.items():
        if case.around.cores and threads > case.around.cores:
            what = f"{threads} threads have {case.around.cores} cores between them, and are in each other's way"
            yield _warning(key, what, f"set it to {case.around.cores} or less; 0 measures what is best")


def _staleness(case: _Case) -> Iterator[Finding]:
    limit = case.settings.source.max_staleness_s
    if case.around.live or not limit or not case.asked("source.max_staleness_s"):
        return
    if case.around.rate:
        yield _note("source.max_staleness_s", "only frames of a live feed grow stale", "leave it out for a file")


_RULES: tuple[Callable[[_Case], Iterator[Finding]], ...] = (
    _floor,
    _thresholds,
    _lost,
    _intervals,
    _exporters,
    _sizes,
    _crop_gates,
    _pace,
    _threads,
    _staleness,
)
