"""What each layer of the settings says: a profile's file, variables of the environment, the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from streamtrack.errors import ConfigError

PREFIX = "STREAMTRACK_"
OLD_NAMES = {
    "TRACK_MAX_GAP_SEC": "tracker.max_gap_s",
    "BYTE_TRACK_BUFFER": "tracker.track_buffer",
    "BYTE_TRACK_MATCH_THRESH": "tracker.match_thresh",
    "BYTE_TRACK_NEW_TRACK_THRESH": "tracker.new_thresh",
    "SCREANALYTICS_TRACK_HIGH_THRESH": "tracker.high_thresh",
    "SCREANALYTICS_TRACK_SAMPLE_LIMIT": "output.samples_per_track",
}
"""Variables of the pipeline that this one follows, spelled as there, and the settings they are."""
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that limit ``runtime.threads``: of those that are set the smallest counts."""
THREADS = "runtime.threads"
_SAMPLING = {"source.stride": 1, "source.fps": 0.0}


class Given(NamedTuple):
    """A value that a layer gives to a setting."""

    key: str
    value: Any
    origin: str
    """Which layer, as ``config show`` and the metrics name it."""
    place: str
    """The same as an error names it: with a line, where there is one."""
    lowers: bool = False
    """Whether it is a limit: where a layer below gives less already, that stays."""


def command_line(overrides: Mapping[str, Any]) -> list[Given]:
    """Return what was given by hand, by dotted key."""
    return [Given(key, value, "command line", "command line") for key, value in overrides.items()]


def new_names(environ: Mapping[str, str]) -> list[Given]:
    """Return what ``STREAMTRACK_SECTION__KEY`` say."""
    found = []
    for name, value in environ.items():
        section, separator, key = name.removeprefix(PREFIX).partition("__")
        if name.startswith(PREFIX) and separator:
            found.append(_variable(f"{section.lower()}.{key.lower()}", value, name))
    return found


def old_names(environ: Mapping[str, str]) -> list[Given]:
    """Return what the variables of ``OLD_NAMES`` say; an empty one says nothing."""
    return [_variable(key, environ[name], name) for name, key in OLD_NAMES.items() if environ.get(name, "").strip()]


def thread_limits(environ: Mapping[str, str]) -> list[Given]:
    """Return what the variables of ``THREAD_LIMITS`` say; empty ones and 0 say nothing.

    OpenMP allows a list, a number for each level of nesting: the first one counts.
    """
    found = ((name, environ.get(name, "").partition(",")[0].strip()) for name in THREAD_LIMITS)
    return [_variable(THREADS, text, name)._replace(lowers=True) for name, text in found if text not in ("", "0")]


def with_sampling_rule(layer: list[Given]) -> list[Given]:
    """Return a layer that gives only one of stride and fps with the other one at its neutral value."""
    given = [each for each in layer if each.key in _SAMPLING]
    if len(given) != 1:
        return layer
    return [given[0]._replace(key=key, value=value) for key, value in _SAMPLING.items() if key != given[0].key] + layer


def profile_file(path: Path, origin: str) -> list[Given]:
    """Return what the file of a profile says.

    Raises:
        ConfigError: it cannot be read, is not YAML, or does not hold sections with keys; with the line.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        return list(_settings(loader, root, path, origin)) if root is not None else []
    except OSError as error:
        raise ConfigError(f"Profile '{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"Profile '{path}' is not YAML: it is not text in UTF-8.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        why = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        raise ConfigError(f"Profile '{path}' is not YAML{where}: {why}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"Profile '{path}' is not YAML: {' '.join(str(error).split())}.") from error


def _settings(loader: yaml.SafeLoader, root: yaml.Node, path: Path, origin: str) -> Iterator[Given]:
    for section, values in _pairs(loader, root, path, "a profile must hold sections with keys"):
        shape = f"section '{section.value}' must hold keys with values"
        for key, value in _pairs(loader, values, path, shape):
            place = f"{origin}, line {key.start_mark.line + 1}"
            yield Given(f"{section.value}.{key.value}", loader.construct_object(value, deep=True), origin, place)


def _pairs(loader: yaml.SafeLoader, node: yaml.Node, path: Path, shape: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Return the entries of a mapping; YAML itself would let the last of two equal keys win without a word."""
    if isinstance(node, yaml.ScalarNode) and loader.construct_object(node) is None:
        return []
    if not isinstance(node, yaml.MappingNode):
        where = f"Profile '{path}', line {node.start_mark.line + 1}"
        raise ConfigError(f"{where}: {shape}, such as 'source: {{stride: 5}}'.")
    loader.flatten_mapping(node)
    seen: dict[str, int] = {}
    for key, _ in node.value:
        here = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"Profile '{path}', line {here}: a key must be a word, such as stride.")
        if key.value in seen:
            first = seen[key.value]
            raise ConfigError(f"Profile '{path}' has '{key.value}' twice, in lines {first} and {here}: keep one.")
        seen[key.value] = here
    return list(node.value)


def _variable(key: str, value: str, name: str) -> Given:
    origin = f"environment {name}"
    return Given(key, value, origin, origin)
