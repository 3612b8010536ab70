"""A source from how it is written to what the doctor says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from streamtrack import address, config, plugins, registry
from streamtrack.allowance import cgroup_cores, usable_cores
from streamtrack.api import SourceOptions
from streamtrack.doctor.advice import Advice, Machine, Named, advise
from streamtrack.doctor.checks import Finding
from streamtrack.doctor.effort import Inference, measure_inference
from streamtrack.doctor.feed import open_feed
from streamtrack.doctor.findings import findings
from streamtrack.doctor.observing import Look, Observations
from streamtrack.doctor.report import SourceReport, summarise
from streamtrack.errors import redact
from streamtrack.sources._container import open_input
from streamtrack.sources._pipe import StandardInput

_BY_PACKETS = frozenset({"pyav", "live"})
"""Sources over FFmpeg: their packets tell more than their frames."""


class Consultation(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen, what it means, and what to do."""

    report: SourceReport
    findings: tuple[Finding, ...]
    inference: Inference
    advice: Advice


def consult(named: Named, *, seconds: float, given: Mapping[str, Any]) -> Consultation:
    """Look at a source for a few seconds.

    Args:
        named: how it was given; ``named.source`` is what a person wrote.
        seconds: for how long, once it is open.
        given: options of the source's own.

    Raises:
        SourceError: it cannot be opened, or sends nothing.
        PluginError: the plug-in that serves it is broken.
        ConfigError: an option that it does not have.
    """
    written = address.read_secret(named.source)
    plugin, uri = address.locate(written, registry.names("sources"))
    found = _observe(written, plugin, uri, seconds, given)
    report = summarise(written, plugin, found)
    settings = config.resolve(None, {}).config
    inference = measure_inference(found.samples, settings)
    machine = Machine(usable_cores(), limited=cgroup_cores() is not None)
    return Consultation(
        report=report,
        findings=tuple(findings(report)),
        inference=inference,
        advice=advise(report, inference, machine, named),
    )


def _observe(written: str, plugin: str, uri: str, seconds: float, given: Mapping[str, Any]) -> Observations:
    # Made in every case: it refuses options that cannot be, as it would in a run.
    source = plugins.make_source(written, SourceOptions(), given)
    label = "Standard input" if written == "-" else redact(written)
    if plugin not in _BY_PACKETS:
        return Look(label, getattr(source, "interrupt", _nothing)).at_frames(source, seconds)
    factory = registry.load("sources", plugin)
    uri, own = address.split_options(uri, plugins.known_options(factory))
    options = plugins.convert_options("source", plugin, factory, {**own, **given})
    if plugin == "live":
        return Look(label).at_packets(lambda: open_feed(uri, options), seconds)
    pipe = StandardInput() if uri == "-" else None
    return Look(label, pipe.interrupt if pipe else _nothing).at_packets(lambda: open_input(uri, pipe), seconds)


def _nothing() -> None:
    """Interrupt nothing: the thread of the look ends by itself."""
