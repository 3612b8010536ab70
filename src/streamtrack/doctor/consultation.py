"""A source from how it is written to what the doctor says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from streamtrack import address, config, plugins, registry
from streamtrack.api import SourceOptions
from streamtrack.doctor.advice import Advice, Machine, Named, advise
from streamtrack.doctor.checks import Finding
from streamtrack.doctor.effort import Inference, measure_inference
from streamtrack.doctor.findings import findings
from streamtrack.doctor.hardware import cgroup_cores, usable_cores
from streamtrack.doctor.observing import Look, Observations
from streamtrack.doctor.report import SourceReport, summarise
from streamtrack.errors import redact
from streamtrack.sources._container import open_input
from streamtrack.sources._pipe import StandardInput


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
    plugin, _ = address.locate(written, registry.names("sources"))
    found = _observe(written, plugin, seconds, given)
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


def _observe(written: str, plugin: str, seconds: float, given: Mapping[str, Any]) -> Observations:
    # Made in every case: it refuses options that cannot be, as it would in a run.
    source = plugins.make_source(written, SourceOptions(), given)
    if plugin == "pyav":
        pipe = StandardInput() if written == "-" else None
        look = Look(redact(written), pipe.interrupt if pipe else lambda: None)
        return look.at_packets(lambda: open_input(written, pipe), seconds)
    return Look(redact(written), getattr(source, "interrupt", lambda: None)).at_frames(source, seconds)
