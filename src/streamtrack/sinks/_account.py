"""What a report says of the run itself: where frames, boxes and crops went, how fast it was, what was set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import msgspec

from streamtrack import catalogue
from streamtrack.pages import plots
from streamtrack.pages.document import table
from streamtrack.pages.plots import Bar, Gate
from streamtrack.sinks._draw import clock
from streamtrack.speed import SLOWER, SpeedMetrics
from streamtrack.types import NS_PER_S

Told = Mapping[str, Any]
"""What ``track_metrics.json`` holds."""

# A gate, in words and with the setting that moves it.
_CROP_GATES = {
    "low_confidence": ("not confident enough", "crops.min_confidence"),
    "too_small": ("too small", "crops.min_size"),
    "blank": ("shows nothing", ""),
    "low_quality": ("not good enough", "crops.min_quality"),
    "outdone": ("a better one was there", "crops.max_crops_per_track"),
    "replaced": ("a better one came", "crops.max_crops_per_track"),
}
_BUCKETS = {
    "detected": "looked at",
    "strided": "left out by stride or fps",
    "coasted": "coasted",
    "dropped_queue": "dropped on the way",
    "dropped_stale": "dropped: too old",
    "corrupt": "corrupt",
}
_ENDS = {"failed": "The run failed", "stopped": "The run was stopped early"}
_BOXES = ("boxes over the threshold", "detections")


def warnings(told: Told) -> Iterator[str]:
    """Yield what a reader should know before he trusts the rest, most important first."""
    if told["status"] != "complete":
        what = _ENDS.get(told["status"], f"The run was {told['status']}")
        reason = f": {told['error']}" if told["error"] and told["status"] == "failed" else ""
        yield f"{what}{reason}. What follows was found until then."
    ledger, source, found = told["frame_ledger"], told["source"] or {}, told["detector"]
    if ledger["corrupt"]:
        yield f"{ledger['corrupt']:,} of {ledger['seen']:,} source frames could not be decoded."
    if source.get("frames_damaged"):
        yield f"Damaged frames, looked at all the same: {source['frames_damaged']:,}."
    if source.get("timestamps_repaired"):
        yield f"Timestamps missing or out of order, and repaired: {source['timestamps_repaired']:,}."
    if source.get("reconnects"):
        yield f"The feed was lost and found again; times: {source['reconnects']:,}."
    # Of a file, they are those that were on their way when the run ended early.
    if (dropped := ledger["dropped_queue"] + ledger["dropped_stale"]) and source.get("live"):
        yield f"{dropped:,} of {ledger['seen']:,} source frames were dropped, to keep up with the source."
    if found and found["too_small"] > found["kept"]:
        yield (
            f"{found['too_small']:,} boxes were refused for their size, more than the {found['kept']:,} kept: "
            f"detector.min_size = {told['settings']['detector']['min_size']:g} px."
        )
    # A live feed sets the speed itself.
    slowdown = msgspec.convert(told["speed"], SpeedMetrics).slowdown if told["speed"] else 0.0
    if slowdown > SLOWER and not source.get("live"):
        yield f"The last minute was {100 * slowdown:.0f} % slower than the first."
    yield from told["warnings"]


def where_it_went(told: Told) -> Iterator[str]:
    """Yield the frame ledger and the funnels of boxes and crops, as HTML."""
    yield "<h2>What became of everything</h2>"
    ledger = {name: count for name, count in told["frame_ledger"].items() if name != "seen" and count}
    if ledger:
        names = [_BUCKETS.get(name, name) for name in ledger]
        legend = [f"{name}: {count:,}" for name, count in zip(names, ledger.values(), strict=True)]
        row = Bar("source frames", tuple(map(float, ledger.values())), f"{sum(ledger.values()):,}")
        yield "<h3>Source frames</h3>" + plots.stacked([row], legend, "frames")
    if told["detector"] and told["detector"]["candidates"]:
        yield "<h3>Boxes of the model</h3>" + plots.funnel(told["detector"]["candidates"], _BOXES, _box_gates(told))
    for name, counts in told["sinks"].items():
        title = f"<h3>{escape(name.capitalize())}</h3>"
        if counts.get("candidates"):
            yield title + plots.funnel(
                counts["candidates"], ("candidates", "kept"), _crop_gates(counts, told), colour=2
            )
        elif "candidates" in counts:
            yield f"{title}<p>There were no candidates.</p>"
        elif counts:
            words = ", ".join(f"{count:,} {key.replace('_', ' ')}" for key, count in counts.items())
            yield f"{title}<p>{escape(words)}.</p>"


def _box_gates(told: Told) -> list[Gate]:
    found, kept = told["detector"], told["totals"]["detections"]
    gates = [
        Gate("another box on the same thing", found["suppressed"], _set(told, "detector.nms")),
        Gate("too small", found["too_small"], _set(told, "detector.min_size")),
        Gate("too many in the frame", found["beyond_max"], _set(told, "detector.max_detections")),
        Gate("too weak for the light", found["kept"] - kept, _set(told, "detector.adaptive")),
    ]
    return [gate for gate in gates if gate.refused > 0]


def _crop_gates(counts: Mapping[str, int], told: Told) -> list[Gate]:
    gates = []
    for name, count in counts.items():
        if count and name not in ("candidates", "kept"):
            label, key = _CROP_GATES.get(name, (name.replace("_", " "), ""))
            gates.append(Gate(label, count, _set(told, key)))
    return gates


def _set(told: Told, key: str) -> str:
    """Return a setting and its value, or nothing where the run does not know it."""
    value = _value(told, key)
    return "" if value is None else f"{key} = {_shown(key, value)}"


def _value(told: Told, key: str) -> Any:
    section, _, name = key.partition(".")
    return told["settings"].get(section, {}).get(name)


def _shown(key: str, value: Any) -> str:
    known = catalogue.settings().get(key)
    return known.shown(value) if known else str(value)


def speed(told: Told) -> Iterator[str]:
    """Yield how fast it was and what took the time, as HTML."""
    process, stages = told["process"], {name: each for name, each in told["stages"].items() if each["items"]}
    yield "<h2>Speed</h2>"
    facts = [
        f"{clock(round(process['wall_s'] * NS_PER_S), 1)} in all",
        f"{process['cores']:.1f} cores on average",
        f"{process['cpu_ms_per_source_frame']:.1f} ms of CPU a source frame",
        f"{process['peak_memory_mb']:,.0f} MB of memory at most",
    ]
    if latency := told["latency"]:
        facts.append(
            f"from camera to tracks {latency['p50_ms']:.0f} ms (median), {latency['p95_ms']:.0f} ms (95 %), "
            f"{latency['p99_ms']:.0f} ms (99 %), {latency['max_ms']:.0f} ms at most"
        )
    yield f"<p>{escape(', '.join(facts))}.</p>"
    if not stages:
        return
    busiest = max(stages, key=lambda name: stages[name]["wall_s"])
    yield '<p class="soft">Seconds that each stage worked (mark), and the CPU seconds of its own thread (bar). Stages '
    yield f"work side by side; the busiest was <b>{escape(busiest)}</b>.</p>"
    rows = [
        Bar(
            name,
            (min(each["cpu_s"], each["wall_s"]), each["wall_s"]),
            f"{each['wall_s']:.1f} s, {1000 * each['wall_s'] / each['items']:.2f} ms each",
            number,
        )
        for number, (name, each) in enumerate(stages.items())
    ]
    yield plots.bars(rows, "s")


def chosen(told: Told) -> Iterator[str]:
    """Yield what was set, which model ran and on what, as HTML."""
    rows = [
        (key, _shown(key, _value(told, key)), origin)
        for key, origin in told["settings_from"].items()
        if (known := catalogue.settings().get(key)) is None or known.default != _value(told, key)
    ]
    yield "<h2>Settings that are not the defaults</h2>"
    yield table(["setting", "value", "from"], rows) if rows else "<p>All are.</p>"
    yield "<h2>Source, model and machine</h2>"
    yield table(["", ""], [(name, text) for name, text in _facts(told) if text])
    if told["passed_over"]:
        each = "".join(f"<li>{escape(_passed(over))}</li>" for over in told["passed_over"])
        yield f"<details><summary>Passed over for this device</summary><ul class='notes'>{each}</ul></details>"


def _facts(told: Told) -> Sequence[tuple[str, str]]:
    source, model, embedder = told["source"], told["model"], told["embedder"]
    found: list[tuple[str, str]] = []
    if source:
        rate = f", {source['fps']:.5g} fps" if source["fps"] else ""
        found += [
            ("source", f"{source['codec']} {source['width']} x {source['height']}{rate}{', live' * source['live']}"),
            ("frames looked at", source["sampling"]),
            ("decoding", source["decoding"]),
        ]
    # The metrics hold the whole note; it is long, and names places on this machine.
    found += [("profile", told["profile"]), ("model", _model(model)), ("", model["note"].partition(":")[0])]
    if embedder:
        found.append(("embedder", f"{_model(embedder)}, {embedder['dimension']}-d, on {embedder['device']}"))
    found.append(("device", f"{told['device']}, {told['backend']}"))
    if limits := told["limits"]:
        most = f", at most {limits['threads_peak']}" if limits["threads_peak"] else ""
        found.append(("threads", f"limit {limits['threads'] or 'none'}{most}"))
    return found


def _model(model: Mapping[str, Any]) -> str:
    return f"{model['name']}, sha256 {model['sha256'][:16]}…" if model["sha256"] else str(model["name"])


def _passed(over: Mapping[str, str]) -> str:
    return f"{over['backend']} on {over['device']}: {over['reason']}"
