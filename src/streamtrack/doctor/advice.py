"""Which profile suits a source on this machine, and why: arithmetic over what was measured."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from streamtrack import config
from streamtrack.doctor.effort import Inference
from streamtrack.doctor.report import SourceReport
from streamtrack.errors import redact
from streamtrack.sources.sampling import choose

THOROUGHNESS = ("high_accuracy", "balanced", "fast_cpu")
"""The built-in profiles, the most thorough first."""
ASSUMED_CPU_MS = 45.0
"""What a model takes for a frame where none could be measured: a face detector at 640x480, with one thread."""
ASSUMED_DECODE_MS = 5.0
SECRET_VARIABLE = "SOURCE_URL"
"""Where the command to paste expects a URL with a password."""
_USUAL_FPS = 30.0
# A live feed must leave room for what else happens; a file may take the whole machine.
_LIVE_LOAD, _FILE_LOAD = 0.7, 1.0
# A sampling rate below this share of what the profile means is not what it means.
_TOO_SPARSE = 0.75
_LEAST_FPS = 0.5
_NEARLY = 0.99
_STALE_S = 2.0


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What one profile would take."""

    profile: str
    sampling: str
    """In words."""
    sample_fps: float
    load: float
    """Share of the processors: CPU seconds a second of media, over the cores."""
    fits: bool
    run_s: float | None
    """About how long the whole file would take; None for what has no end."""


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """The profile to use, and the command."""

    profile: str
    why: str
    command: str
    """To paste. It names the source by an environment variable where its URL holds a password."""
    candidates: tuple[Candidate, ...]
    fps: float | None
    """What to give to ``--fps``; None where the profile's own sampling is right."""
    threads: int | None
    """What to give to ``--threads``; None for as many as there are."""
    assumed: bool
    """Whether the cost of a frame was assumed and not measured."""


class Machine(NamedTuple):
    """What there is to compute with."""

    cores: float
    """That this process may use; a part of one where a control group says so."""
    limited: bool
    """Whether that is less than the libraries see, so that they must be told."""


class _Costs(NamedTuple):
    fps: float
    decode_ms: float
    infer_cpu_ms: float
    infer_wall_ms: float

    def load(self, sample_fps: float, machine: Machine) -> float:
        """Return the share of the machine; more than 1 too where inference alone cannot keep up, frame by frame."""
        cpu = (self.fps * self.decode_ms + sample_fps * self.infer_cpu_ms) / 1000 / machine.cores
        return max(cpu, sample_fps * self.infer_wall_ms / 1000)


class Named(NamedTuple):
    """How the source was given, for the command to give it likewise."""

    source: str = ""
    from_env: str = ""
    """The environment variable that held it; else empty."""
    options: Sequence[str] = ()
    """As given to ``--source-option``."""


def advise(report: SourceReport, inference: Inference, machine: Machine, named: Named) -> Advice:
    """Choose the most thorough profile that this machine keeps up with.

    Args:
        report: of the source.
        inference: what a frame costs.
        machine: what there is.
        named: how the source was given.
    """
    costs = _costs(report, inference)
    room = _LIVE_LOAD if report.live else _FILE_LOAD
    candidates, limits = [], {}
    for profile in THOROUGHNESS:
        fps, candidate = _candidate(profile, report, costs, machine, room)
        limits[profile] = fps
        candidates.append(candidate)
    chosen = next((each for each in candidates if each.fits), candidates[-1])
    fps = limits[chosen.profile]
    if not chosen.fits and report.live:
        fps = _affordable_fps(costs, machine, room)
    threads = max(1, int(machine.cores)) if machine.limited else None
    return Advice(
        profile=chosen.profile,
        why=_why(report, inference, chosen, costs, machine, fps),
        command=_command(named, report, chosen.profile, fps, threads),
        candidates=tuple(candidates),
        fps=fps,
        threads=threads,
        assumed=inference.cpu_ms is None,
    )


def _costs(report: SourceReport, inference: Inference) -> _Costs:
    return _Costs(
        fps=report.fps or _USUAL_FPS,
        decode_ms=ASSUMED_DECODE_MS if report.decode_ms is None else report.decode_ms,
        infer_cpu_ms=ASSUMED_CPU_MS if inference.cpu_ms is None else inference.cpu_ms,
        infer_wall_ms=ASSUMED_CPU_MS if inference.wall_ms is None else inference.wall_ms,
    )


def _candidate(
    profile: str, report: SourceReport, costs: _Costs, machine: Machine, room: float
) -> tuple[float | None, Candidate]:
    """Return what to give to ``--fps``, and what the profile then takes."""
    settings = config.resolve(profile, {}).config
    source = settings.source
    meant = choose(source.stride, source.fps, _USUAL_FPS).rate
    sampler, fps = choose(source.stride, source.fps, costs.fps), None
    sparse = sampler.rate < _TOO_SPARSE * min(meant, costs.fps)
    if sparse or (report.steps.variable and source.stride > 1):
        fps = float(round(min(meant, costs.fps), 1))
        sampler = choose(1, fps, costs.fps)
    sampling = "every frame" if sampler.rate >= _NEARLY * costs.fps else sampler.text
    load = costs.load(sampler.rate, machine)
    run_s = report.duration_s * load if report.duration_s and not report.live else None
    if run_s is not None and report.duration_s and settings.runtime.max_fps:
        # It pauses between frames, however fast the machine is.
        run_s = max(run_s, report.duration_s * sampler.rate / settings.runtime.max_fps)
    return fps, Candidate(
        profile=profile, sampling=sampling, sample_fps=sampler.rate, load=load, fits=load <= room, run_s=run_s
    )


def _affordable_fps(costs: _Costs, machine: Machine, room: float) -> float:
    left = room * machine.cores * 1000 - costs.fps * costs.decode_ms
    affordable = min(left / costs.infer_cpu_ms, room * 1000 / costs.infer_wall_ms)
    return max(_LEAST_FPS, math.floor(2 * affordable) / 2)


def _why(
    report: SourceReport, inference: Inference, chosen: Candidate, costs: _Costs, machine: Machine, fps: float | None
) -> str:
    took = (
        f"{costs.decode_ms:.1f} ms of CPU to decode and {costs.infer_cpu_ms:.0f} ms for {inference.model or 'a model'}"
    )
    if inference.cpu_ms is None:
        took += f" (assumed: {inference.note})"
    else:
        took += f", which answers after {costs.infer_wall_ms:.0f} ms"
    text = f"a frame costs {took}, and there are {machine.cores:g} cores: "
    if not chosen.fits and report.live:
        decoding = costs.fps * costs.decode_ms / 1000 / machine.cores
        if decoding > _LIVE_LOAD:
            return (
                text + f"decoding alone takes {decoding:.0%} of what can be had; let the camera send a smaller stream"
            )
        return text + f"too little even for {chosen.profile}, so no more than {fps:g} frames a second are looked at"
    looked = f"{chosen.sampling}, {chosen.sample_fps:.3g} a second, takes {chosen.load:.0%} of what can be had"
    if chosen.run_s is not None:
        looked += f", about {_clock(chosen.run_s)} for the file's {_clock(report.duration_s or 0.0)}"
    if chosen.fits and chosen.profile != THOROUGHNESS[0]:
        looked += f"; {THOROUGHNESS[THOROUGHNESS.index(chosen.profile) - 1]} would be too much for it to keep up"
    return text + looked


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minute} min"
    return f"{minute} min {second} s" if minute else f"{max(1, second)} s"


def _command(named: Named, report: SourceReport, profile: str, fps: float | None, threads: int | None) -> str:
    words = ["streamtrack", "run", *_source_words(named), "--profile", profile]
    words += [word for option in named.options for word in ("--source-option", redact(f"?{option}")[1:])]
    words += ["--fps", f"{fps:g}"] if fps else []
    words += ["--threads", str(threads)] if threads else []
    words += ["--max-staleness", f"{_STALE_S:g}"] if report.live else []
    return shlex.join(words)


def _source_words(named: Named) -> list[str]:
    if named.from_env:
        return ["--source-from-env", named.from_env]
    # A command line is seen by everybody on the machine: a password does not belong there.
    return [named.source] if redact(named.source) == named.source else ["--source-from-env", SECRET_VARIABLE]
