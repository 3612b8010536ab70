"""Settings, resolved once: ``field default < profile < environment < command line``.

Each layer is a mapping of dotted keys (``source.stride``) to values. The layers are merged in order, the layer of
each key is
recorded, and the result is converted once into frozen structs that refuse unknown keys. An error names the key, the
value and
the layer it came from. This is the only module that reads ``os.environ``.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from streamtrack.errors import ConfigError, did_you_mean
from streamtrack.params import TrackerParams
from streamtrack.settings import Config

DEFAULT_PROFILE = "balanced"
_ENV_PREFIX = "STREAMTRACK_"
_POOL_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_THREAD_VARIABLES = (*_POOL_VARIABLES, "NUMBA_NUM_THREADS", "OMP_WAIT_POLICY")


class Layer(NamedTuple):
    """One layer of settings: a name for people and dotted keys with their values."""

    name: str
    values: Mapping[str, Any]


class Resolved(NamedTuple):
    """The settings of a run and where each one that is not a default came from."""

    config: Config
    profile: str
    origins: dict[str, str]


def resolve(
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Merge defaults, profile, environment and ``overrides`` (dotted keys, as given on the command line).

    A layer that gives only one of ``source.stride`` and ``source.fps`` replaces both of the layers below it.

    Args:
        profile: name of a profile or path to a YAML file; None for ``balanced``.
        overrides: dotted keys to values; strings are read as YAML scalars.
        environ: the environment; None for the process's own.

    Raises:
        ConfigError: a key that does not exist, a value that does not fit, a profile that cannot be read.
    """
    chosen = profile or DEFAULT_PROFILE
    layers = [
        Layer(f"profile {chosen}", _profile_values(chosen)),
        Layer("environment", _environment_values(os.environ if environ is None else environ)),
        Layer("command line", dict(overrides or {})),
    ]
    merged: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        for key, value in _with_sampling_rule(layer.values).items():
            section, name = _known(key, layer.name)
            merged.setdefault(section, {})[name] = yaml.safe_load(value) if isinstance(value, str) and value else value
            origins[key] = layer.name
    return Resolved(_convert(merged, origins), chosen, origins)


def _with_sampling_rule(values: Mapping[str, Any]) -> dict[str, Any]:
    given = {key for key in ("source.stride", "source.fps") if key in values}
    if len(given) != 1:
        return dict(values)
    return {"source.stride": 1, "source.fps": 0.0, **values}


def _sections() -> dict[str, tuple[str, ...]]:
    return {
        field.name: tuple(f.name for f in msgspec.structs.fields(field.type))
        for field in msgspec.structs.fields(Config)
    }


def _known(key: str, layer: str) -> tuple[str, str]:
    sections = _sections()
    section, _, name = key.partition(".")
    if section in sections and name in sections[section]:
        return section, name
    known = [f"{s}.{n}" for s, names in sections.items() for n in names]
    where = (
        f"There is no section '{section}'; sections are {', '.join(sections)}."
        if section not in sections
        else (f"'{section}' has {', '.join(sections[section])}.")
    )
    raise ConfigError(f"Unknown setting '{key}' ({layer}).{did_you_mean(key, known)} {where}")


def _convert(merged: Mapping[str, Mapping[str, Any]], origins: Mapping[str, str]) -> Config:
    try:
        return msgspec.convert(merged, Config, strict=False)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        key = path.rstrip("`")
        section, _, name = key.partition(".")
        value = merged.get(section, {}).get(name)
        layer = origins.get(key, "default")
        raise ConfigError(f"Setting {key} = {value!r} ({layer}) does not fit: {reason}.") from error


def _environment_values(environ: Mapping[str, str]) -> dict[str, str]:
    values = {}
    for name, value in environ.items():
        section, separator, key = name.removeprefix(_ENV_PREFIX).partition("__")
        if name.startswith(_ENV_PREFIX) and separator:
            values[f"{section.lower()}.{key.lower()}"] = value
    return values


def environment_value(name: str) -> str:
    """Return the value of an environment variable that somebody named.

    Raises:
        ConfigError: it is not set, or empty.
    """
    value = os.environ.get(name, "")
    if not value:
        raise ConfigError(f"The environment variable {name} is not set: export {name}=... first.")
    return value


class Lifetime(NamedTuple):
    """How long a track that is out of sight keeps its id."""

    track_buffer_s: float | None
    """``tracker.track_buffer`` in seconds of media; None where the frame rate cannot be known."""
    max_gap_s: float

    @property
    def binds(self) -> str:
        """The setting that is the shorter of the two."""
        return "max_gap_s" if self.track_buffer_s is None or self.max_gap_s <= self.track_buffer_s else "track_buffer"

    @property
    def seconds(self) -> float:
        """The shorter of the two."""
        return self.max_gap_s if self.track_buffer_s is None else min(self.max_gap_s, self.track_buffer_s)


def lifetime(params: TrackerParams, sample_rate: float) -> Lifetime:
    """Return how long ``params`` keep a lost track.

    Args:
        params: settings of the tracker.
        sample_rate: frames a second of media that it sees; 0 where that cannot be known.
    """
    # track_buffer counts source frames times the stride: with it, processed frames.
    return Lifetime(params.track_buffer / sample_rate if sample_rate else None, params.max_gap_s)


def meanings(section: str) -> dict[str, str]:
    """Return the first sentence about each setting of a section, as the source says it."""
    (kind,) = (field.type for field in msgspec.structs.fields(Config) if field.name == section)
    found: dict[str, str] = {}
    for part in kind.__mro__:
        if msgspec.Struct in part.__mro__[1:]:
            body = ast.parse(inspect.getsource(part)).body[0]
            assert isinstance(body, ast.ClassDef)
            for field, text in itertools.pairwise(body.body):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    words = " ".join(ast.literal_eval(text.value).replace("``", "").split())
                    found[ast.unparse(field.target)] = re.split(r"\.(?= [A-Z]|$)", words)[0]
    return found


def parse_assignments(pairs: list[str]) -> dict[str, str]:
    """Turn ``["tracker.max_gap_s=2", ...]`` into a mapping.

    Raises:
        ConfigError: a pair without ``=`` or without a key.
    """
    values = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise ConfigError(f"'{pair}' is not a setting: write section.key=value, such as tracker.max_gap_s=2.")
        values[key.strip()] = value.strip()
    return values


def profiles() -> dict[str, Path]:
    """Every profile that can be chosen by name; one in the user's config folder hides a built-in one."""
    found: dict[str, Path] = {}
    for folder in reversed(list(_profile_folders())):
        found.update({path.stem: path for path in sorted(folder.glob("*.yaml"))})
    return found


def _profile_folders() -> Iterator[Path]:
    yield config_dir() / "profiles"
    package = Path(__file__).parent
    # In a wheel the profiles lie inside the package; in a checkout they are at its root.
    yield package / "profiles"
    yield package.parent.parent / "profiles"


def _profile_values(profile: str) -> dict[str, Any]:
    is_path = profile.endswith((".yaml", ".yml")) or os.sep in profile
    path = Path(profile).expanduser() if is_path else profiles().get(profile)
    if path is None:
        names = sorted(profiles())
        raise ConfigError(
            f"There is no profile '{profile}'.{did_you_mean(profile, names)} Profiles: {', '.join(names)}; "
            "a path to a YAML file works too."
        )
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"Profile '{path}' cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"Profile '{path}' is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(tree, dict) or not all(isinstance(section, dict) for section in tree.values()):
        raise ConfigError(f"Profile '{path}' must hold sections with keys, such as 'source: {{stride: 5}}'.")
    return {f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()}


def _xdg(variable: str, fallback: str) -> Path:
    configured = os.environ.get(variable, "")
    # The XDG base directory specification: a relative path is invalid and ignored.
    if os.path.isabs(configured):
        return Path(configured)
    return Path(os.path.expanduser("~")) / fallback


def config_dir() -> Path:
    """Folder of a user's own profiles: $XDG_CONFIG_HOME/streamtrack."""
    return _xdg("XDG_CONFIG_HOME", ".config") / "streamtrack"


def thread_variables() -> dict[str, str]:
    """Return those environment variables that set how many threads libraries take, where they are set."""
    return {name: os.environ[name] for name in _THREAD_VARIABLES if os.environ.get(name)}


def limit_library_threads(threads: int) -> dict[str, str]:
    """Hold the thread pools of numerical libraries to ``threads``, and return the environment variables set for it.

    OpenMP, OpenBLAS, MKL, Accelerate and numexpr read them as they load, so this comes before numpy is imported. What
    the user has set stays. streamtrack computes on threads of its own, and a second pool beside them only costs.

    Args:
        threads: how many; below 1 means 1.
    """
    added = {name: str(max(threads, 1)) for name in _POOL_VARIABLES if not os.environ.get(name)}
    os.environ.update(added)
    return added


def cache_dir() -> Path:
    """Folder of what was compiled and measured for this machine: $STREAMTRACK_CACHE_DIR, else that of the user."""
    configured = os.environ.get("STREAMTRACK_CACHE_DIR", "")
    return Path(configured).expanduser() if configured else _user_cache()


def _user_cache() -> Path:
    return _xdg("XDG_CACHE_HOME", ".cache") / "streamtrack"


def model_dir() -> Path:
    """Folder of downloaded models: $STREAMTRACK_MODEL_DIR, else $XDG_CACHE_HOME/streamtrack/models."""
    configured = os.environ.get("STREAMTRACK_MODEL_DIR", "")
    return Path(configured).expanduser() if configured else _user_cache() / "models"
