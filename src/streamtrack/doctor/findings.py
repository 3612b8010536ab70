"""Sentences about a source: what of its numbers a person should know, and what it means for a run."""

from __future__ import annotations

from collections.abc import Iterator

from streamtrack.doctor.checks import Finding
from streamtrack.doctor.report import SourceReport

# Declared and measured rates that differ by less are the same.
_SAME = 0.05
_LONG_GOP_S, _SLOW_S, _CLOCK_S = 4.0, 2.0, 1.0
_BURST_S = 1.0
# A feed that is joined in its middle may begin with a gap, and a camera may skip a frame.
_FEW_GAPS, _LONG_GAP_S = 0.01, 0.5
_FRACTIONS = {1 / 4: "a quarter", 1 / 3: "a third", 1 / 2: "half", 2 / 3: "two thirds", 2.0: "twice"}
_LARGE_PX = 2560 * 1440


def findings(report: SourceReport) -> list[Finding]:
    """Return what is worth saying about a source, the gravest first; one that says so where nothing is."""
    makers = (_damage, _pictures, _rates, _timestamps, _opening, _gops, _delays, _clock)
    found = [finding for make in makers for finding in make(report)]
    found.sort(key=lambda finding: ("problem", "note", "ok").index(finding.mark))
    return found or [Finding("ok", "healthy", "nothing unusual: times, rates and pictures are as they should be")]


def _damage(report: SourceReport) -> Iterator[Finding]:
    if report.broke_off:
        yield Finding("problem", "broke_off", report.broke_off.rstrip("."))
    if not report.decoded_frames:
        yield Finding(
            "problem",
            "no_picture",
            f"{report.frames_seen} packets came within {report.looked_s:.1f} s, and not one picture could be decoded: "
            "no keyframe was among them, or the stream is damaged",
        )
    if report.cut_short:
        yield Finding("note", "cut_short", "the file ends before its index does: what is behind the cut is lost")
    told = losses(report)
    if told:
        whose = "the network loses packets, or the camera is overloaded" if report.live else "the file is damaged"
        yield Finding("note", "damage", f"{told} in {report.decoded_frames + report.lost_frames} frames: {whose}")


def losses(report: SourceReport) -> str:
    """Return what was lost or damaged; empty where nothing was."""
    counts = [
        (report.corrupt_packets, "corrupt packet"),
        (report.decode_errors, "decoder error"),
        (report.lost_frames, "lost frame"),
        (report.damaged_frames, "damaged frame"),
    ]
    return ", ".join(_count(number, noun) for number, noun in counts if number)


def _pictures(report: SourceReport) -> Iterator[Finding]:
    pictures = report.pictures
    if pictures is None:
        return
    if pictures.rotation:
        yield Finding(
            "ok",
            "rotation",
            f"turned by {pictures.rotation}\N{DEGREE SIGN} for display: boxes are in the turned picture",
        )
    if pictures.interlaced:
        yield Finding("note", "interlaced", "interlaced: what moves has combed edges, which detectors like less")
    if pictures.colour_transfer:
        yield Finding(
            "note", "hdr", f"high dynamic range ({pictures.colour_transfer}): shown without tone mapping, so paler"
        )
    if pictures.width * pictures.height > _LARGE_PX and report.decode_ms:
        yield Finding(
            "note",
            "large",
            f"{pictures.width}x{pictures.height} costs {report.decode_ms:.0f} ms of CPU a frame to decode: where small "
            "faces do not matter a smaller stream of the same camera is enough",
        )


def _rates(report: SourceReport) -> Iterator[Finding]:
    measured, declared = report.steps.fps, report.declared_fps
    if measured and declared and _differ(report):
        yield Finding("note", "rate", f"declared {declared:.4g} fps, measured {measured:.3g}: {_explained(report)}")
    if not declared and not measured:
        yield Finding("note", "no_rate", "neither declares a frame rate nor has timestamps to measure one by")
    arrivals = report.arrivals
    if arrivals and arrivals.longest_s > max(_BURST_S, 2 * report.steps.longest_s):
        yield Finding(
            "note",
            "bursts",
            f"frames arrive in bursts, up to {arrivals.longest_s:.1f} s apart: so much a track is late",
        )
    elif arrivals and measured and arrivals.fps < (1 - 2 * _SAME) * measured:
        yield Finding(
            "note",
            "slow_arrival",
            f"frames arrive at {arrivals.fps:.3g} a second where their timestamps say {measured:.3g}: the network or "
            "the server is too slow, and the delay grows",
        )


def _differ(report: SourceReport) -> bool:
    measured, declared = report.steps.fps or 0.0, report.declared_fps or 0.0
    return bool(measured and declared) and abs(measured - declared) > _SAME * declared and report.frames_seen > 2


def _explained(report: SourceReport) -> str:
    ratio = (report.steps.fps or 0.0) / (report.declared_fps or 1.0)
    name = next((words for value, words in _FRACTIONS.items() if abs(ratio / value - 1) < _SAME), "")
    who = "the camera" if report.live else "the file"
    if name:
        return f"{who} {'sends' if report.live else 'holds'} {name}" + ("" if name == "twice" else " of them")
    if report.steps.variable:
        return "its rate varies"
    if report.steps.gaps:
        return f"{_gaps(report)} in its timestamps, where frames are missing"
    return f"{who} {'sends' if report.live else 'holds'} {ratio:.0%} of that"


def _timestamps(report: SourceReport) -> Iterator[Finding]:
    steps = report.steps
    # The first frame of an RTSP feed nearly never has one.
    if steps.missing > report.live:
        text = f"{steps.missing} of {report.frames_seen} frames have no timestamp: they are placed one period apart"
        yield Finding("note", "missing_timestamps", text)
    if steps.backward or steps.forward:
        text = f"its clock went back {_count(steps.backward, 'time')} and leapt ahead {_count(steps.forward, 'time')}"
        yield Finding("note", "jumps", f"{text}: time goes on in a run, and tracks end where it leaps by seconds")
    if steps.duplicates:
        text = f"{_count(steps.duplicates, 'frame')} with the timestamp of another: a run moves them apart"
        yield Finding("note", "duplicates", text)
    if steps.variable:
        text = f"variable frame rate (steps of {1000 * steps.median_s:.0f} ms, 95 % up to {1000 * steps.p95_s:.0f}): "
        yield Finding("note", "variable_rate", text + "--fps samples it evenly, --stride does not")
    elif not _differ(report) and (steps.gaps > _FEW_GAPS * report.frames_seen or steps.longest_s > _LONG_GAP_S):
        yield Finding("note", "gaps", f"{_gaps(report)} in its timestamps: frames are missing there")


def _gaps(report: SourceReport) -> str:
    return f"{_count(report.steps.gaps, 'gap')} of up to {report.steps.longest_s:.2g} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _opening(report: SourceReport) -> Iterator[Finding]:
    if report.open_s is not None and report.open_s > _SLOW_S:
        yield Finding("note", "slow_open", f"takes {report.open_s:.1f} s to open, and as long again at a reconnect")
    first = report.first_frame_s
    if first is not None and report.open_s is not None and first - report.open_s > _SLOW_S:
        yield Finding(
            "note", "slow_first_frame", f"the first picture comes {first - report.open_s:.1f} s after opening"
        )


def _gops(report: SourceReport) -> Iterator[Finding]:
    gop, fps = report.gop, report.fps
    if gop is None or not fps or not gop.keyframes:
        return
    lasts_s = gop.longest / fps
    if report.live and lasts_s > _LONG_GOP_S:
        least = "" if gop.complete else "at least "
        yield Finding(
            "note",
            "long_gop",
            f"GOP of {least}{gop.longest} frames: after a reconnect it takes up to {lasts_s:.0f} s until a picture; "
            "set the camera's keyframe interval to 1 or 2 s",
        )
    if gop.complete and gop.longest == 1:
        yield Finding("ok", "intra_only", "every frame is a keyframe: a stride saves nearly all the decoding it skips")


def _delays(report: SourceReport) -> Iterator[Finding]:
    depth, fps = report.reordering_depth, report.fps
    if report.live and depth and fps:
        yield Finding(
            "note",
            "reordering",
            f"B-frames: the decoder must hold back {depth} frames, "
            f"{1000 * depth / fps:.0f} ms of delay that the camera's baseline profile would not have",
        )


def _clock(report: SourceReport) -> Iterator[Finding]:
    offset = report.wall_clock_offset_s
    if not report.live or not report.container:
        return
    if offset is None:
        yield Finding(
            "ok", "no_wall_clock", "sent no wall clock while we looked: age is counted from arrival until it does"
        )
    elif abs(offset) > _CLOCK_S:
        which = "behind" if offset > 0 else "ahead of"
        yield Finding(
            "note",
            "wall_clock",
            f"its wall clock is {abs(offset):.1f} s {which} ours: set both by NTP, or ages are wrong",
        )
