"""The numbers of a look, in words for a person."""

from __future__ import annotations

from streamtrack.doctor.advice import Candidate
from streamtrack.doctor.findings import losses
from streamtrack.doctor.report import SourceReport

_DEGREE = "\N{DEGREE SIGN}"


def rows(report: SourceReport) -> list[tuple[str, str]]:
    """Return a label and a text for each group of numbers that there is."""
    found = [
        ("looked", _looked(report)),
        ("container", _container(report)),
        ("pictures", _pictures(report)),
        ("frame rate", _rates(report)),
        ("timestamps", _timestamps(report)),
        ("arrival", _arrival(report)),
        ("keyframes", _keyframes(report)),
        ("order", _order(report)),
        ("bitrate", f"{_bits(report.bitrate)}/s" if report.bitrate else ""),
        ("loss", _loss(report)),
        ("opening", _opening(report)),
        ("wall clock", _wall_clock(report)),
        ("decoding", _decoding(report)),
    ]
    return [(label, text) for label, text in found if text]


def candidate(each: Candidate) -> str:
    """Return what one profile would take."""
    text = f"{each.sampling}, {each.sample_fps:.3g} frames a second: {each.load:.0%} of the machine"
    text += f", {each.run_s:.0f} s for the file" if each.run_s is not None else ""
    return text if each.fits else f"{text}: too much"


def _looked(report: SourceReport) -> str:
    whole = " (all of it)" if report.ended and not report.live else ""
    return f"{report.frames_seen} frames in {report.looked_s:.1f} s{whole}, through the source '{report.plugin}'"


def _container(report: SourceReport) -> str:
    parts = [report.container] if report.container else []
    if report.duration_s:
        parts.append(f"{report.duration_s:.2f} s")
    if report.frames_estimate:
        parts.append(f"about {report.frames_estimate} frames")
    if report.others:
        parts.append("besides: " + ", ".join(report.others))
    return ", ".join(parts)


def _pictures(report: SourceReport) -> str:
    pictures = report.pictures
    if pictures is None:
        return "none decoded"
    codec = " ".join(part for part in (pictures.codec, pictures.profile, pictures.level) if part)
    colours = " ".join(
        part for part in (pictures.colour_space, pictures.colour_range, pictures.colour_transfer) if part
    )
    parts = [codec, f"{pictures.width}x{pictures.height}", pictures.pixel_format]
    if pictures.pixel_format:
        parts.append(colours or "colours not said")
    parts.append(f"turned by {pictures.rotation}{_DEGREE}" if pictures.rotation else "")
    parts.append("interlaced" if pictures.interlaced else "")
    return ", ".join(part for part in parts if part)


def _rates(report: SourceReport) -> str:
    declared = f"declared {report.declared_fps:.4g}" if report.declared_fps else "none declared"
    measured = f"measured {report.steps.fps:.4g}" if report.steps.fps else "not to be measured"
    arrived = f", arriving {report.arrivals.fps:.4g}" if report.arrivals else ""
    return f"{declared}, {measured}{arrived} fps" + (", variable" if report.steps.variable else "")


def _timestamps(report: SourceReport) -> str:
    steps = report.steps
    counts = [
        (steps.missing, "missing"),
        (steps.duplicates, "twice"),
        (steps.backward, "back"),
        (steps.forward, "ahead"),
        (steps.gaps, "gaps"),
    ]
    wrong = ", ".join(f"{count} {what}" for count, what in counts if count) or "in order"
    return (
        f"{wrong}; steps of {1000 * steps.median_s:.1f} ms, deviation {1000 * steps.std_s:.2g}, "
        f"95 % up to {1000 * steps.p95_s:.1f}, longest {1000 * steps.longest_s:.0f}"
    )


def _arrival(report: SourceReport) -> str:
    arrivals = report.arrivals
    if arrivals is None:
        return ""
    return (
        f"deviation {1000 * arrivals.std_s:.1f} ms, 95 % up to {1000 * arrivals.p95_s:.0f}, "
        f"longest {1000 * arrivals.longest_s:.0f}"
    )


def _keyframes(report: SourceReport) -> str:
    gop = report.gop
    if gop is None:
        return ""
    if gop.shortest is None or gop.median is None:
        return f"{gop.keyframes} seen; none for {gop.longest} frames" if gop.longest else f"{gop.keyframes} seen"
    if gop.shortest == gop.longest:
        return f"{gop.keyframes}, {gop.longest} frames apart"
    return f"{gop.keyframes}, every {gop.shortest} to {gop.longest} frames (median {gop.median:g})"


def _order(report: SourceReport) -> str:
    share = report.b_frame_share
    if share is None:
        return ""
    depth = f", {report.reordering_depth} held back" if report.reordering_depth else ""
    order = f"B-frames: {share:.0%} of all{depth}" if share else "no B-frames"
    disposable = report.disposable_share
    return order + (f"; nothing refers to {disposable:.0%} of the frames" if disposable else "")


def _bits(rate: float) -> str:
    return f"{rate / 1e6:.2f} Mbit" if rate >= 1e6 else f"{rate / 1e3:.0f} kbit"


def _loss(report: SourceReport) -> str:
    return losses(report) or f"none in {report.decoded_frames} decoded frames"


def _opening(report: SourceReport) -> str:
    if report.open_s is None:
        return ""
    first = (
        f", first picture after {report.first_frame_s:.2f} s" if report.first_frame_s is not None else ", no picture"
    )
    return f"{report.open_s:.2f} s to open{first}"


def _wall_clock(report: SourceReport) -> str:
    if not report.live or report.container == "":
        return ""
    offset = report.wall_clock_offset_s
    return "none seen" if offset is None else f"sent by the feed; ours at arrival less it: {1000 * offset:.0f} ms"


def _decoding(report: SourceReport) -> str:
    if report.decode_ms is None:
        return ""
    what = "decoding" if report.container else "reading"
    return f"{report.decode_ms:.2f} ms of CPU a frame for {what}, one thread, over {report.decoded_frames} frames"
