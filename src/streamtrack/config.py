"""Settings, resolved once: ``default < profile < old names < STREAMTRACK_SECTION__KEY < command line``.

Each layer gives values to dotted keys (``source.stride``). They are read as the setting has them, units included,
merged in order with the layer of each key kept, and converted once into frozen structs. An error names the key, the
value and where it stands. This is the only module that reads ``os.environ``.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streamtrack import catalogue, layers
from streamtrack.errors import ConfigError, did_you_mean
from streamtrack.params import TrackerParams
from streamtrack.settings import Config

DEFAULT_PROFILE = "balanced"
LAYERS = ("default", "profile", "old names", "STREAMTRACK_SECTION__KEY", "command line")
"""What the settings come from, each beating those before it."""
_POOL_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_THREAD_VARIABLES = (*_POOL_VARIABLES, "OMP_WAIT_POLICY")
_OURS = "STREAMTRACK_POOLS"
"""Holds what was set here, for this process and its children."""


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
        overrides: dotted keys to values; text is read as the setting has it, such as ``"2500ms"`` for seconds.
        environ: the environment; None for the process's own.

    Raises:
        ConfigError: a key that does not exist, a value that does not fit, a profile that cannot be read.
    """
    chosen = profile or DEFAULT_PROFILE
    users = _users(os.environ) if environ is None else environ
    values: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    stack = [
        layers.profile_file(_profile_path(chosen), f"profile {chosen}"),
        layers.old_names(users),
        layers.thread_limits(users),
        layers.new_names(users),
        layers.command_line(overrides or {}),
    ]
    for layer in stack:
        for given in layers.with_sampling_rule(layer):
            setting = _known(given)
            value = _read(setting, given)
            section = values.setdefault(setting.section, {})
            # A limit lowers: whoever says OMP_NUM_THREADS=16 for all programs does not mean that one thread is too few.
            if not given.lowers or not 0 < section.get(setting.name, 0) <= value:
                section[setting.name] = value
                origins[given.key] = given.origin
    return Resolved(msgspec.convert(values, Config), chosen, origins)


def _known(given: layers.Given) -> catalogue.Setting:
    if given.key in catalogue.settings():
        return catalogue.settings()[given.key]
    section, known = given.key.partition(".")[0], catalogue.sections()
    where = (
        f"'{section}' has {', '.join(known[section])}."
        if section in known
        else f"There is no section '{section}'; sections are {', '.join(known)}."
    )
    # Without its section, any of that name may be meant.
    same = [f"'{key}'" for key, each in catalogue.settings().items() if each.name == given.key]
    meant = f" Did you mean {' or '.join(same)}?" if same else did_you_mean(given.key, catalogue.settings())
    raise ConfigError(f"Unknown setting '{given.key}' ({given.place}).{meant} {where}")


def _read(setting: catalogue.Setting, given: layers.Given) -> Any:
    try:
        return setting.read(given.value)
    except ValueError as error:
        why = str(error) if str(error).endswith("?") else f"{error}."
        raise ConfigError(f"Setting {given.key} = {given.value!r} ({given.place}) does not fit: {why}") from error


def _users(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what streamtrack, or one that started this process, put there itself."""
    ours = set(environ.get(_OURS, "").split())
    return {name: value for name, value in environ.items() if f"{name}={value}" not in ours}


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


def sink_options(settings: Config) -> dict[str, dict[str, Any]]:
    """Return the options that sinks of our own have from the settings; those given with the sink go before them."""
    output, embedder = settings.output, settings.embedder
    samples = {"samples_per_track": output.samples_per_track}
    jpeg = {"jpeg_quality": output.jpeg_quality}
    crops = msgspec.structs.asdict(settings.crops)
    faces = {"every_frames": embedder.every_frames, "save_faces": embedder.save_faces}
    return {
        "jsonl": samples,
        "msgpack": samples,
        "parquet": samples,
        "stdout": samples,
        "frames": jpeg,
        "crops": jpeg | crops,
        "embeddings": jpeg | faces,
    }


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


def about(profile: str) -> str:
    """Return the comment that a profile begins with: when to use it; "" where there is none.

    Raises:
        ConfigError: there is no such profile.
    """
    try:
        lines = _profile_path(profile).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Profile '{profile}' cannot be read: {getattr(error, 'strerror', error)}.") from error
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    # A hint for editors is not for people.
    return " ".join(line.lstrip("# ").strip() for line in comment if "yaml-language-server:" not in line)


def _profile_path(profile: str) -> Path:
    if profile.endswith((".yaml", ".yml")) or os.sep in profile:
        return Path(profile).expanduser()
    found = profiles()
    if profile not in found:
        names = sorted(found)
        raise ConfigError(
            f"There is no profile '{profile}'.{did_you_mean(profile, names)} Profiles: {', '.join(names)}; "
            "a path to a YAML file works too."
        )
    return found[profile]


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
    """Return those environment variables of the user's that set how many threads libraries take."""
    users = _users(os.environ)
    return {name: users[name] for name in _THREAD_VARIABLES if users.get(name)}


def limit_library_threads(threads: int) -> dict[str, str]:
    """Hold the thread pools of numerical libraries to ``threads``, and return the environment variables set for it.

    OpenMP, OpenBLAS, MKL, Accelerate, numexpr and numba read them as they load, so this comes before numpy is imported;
    where it is already, nothing is done.
    What the user has set to less stays. streamtrack computes on threads of its own, and a second pool beside them only
    costs. What is set here is noted in the environment too: neither this process nor a child takes it for the user's
    wish.

    Args:
        threads: how many; 0 for one where the user says nothing.
    """
    if "numpy" in sys.modules:
        return {}
    given = {name: _users(os.environ).get(name, "") for name in _POOL_VARIABLES}
    more = {name for name, value in given.items() if value.isdecimal() and int(value) > threads > 0}
    added = {name: str(max(threads, 1)) for name, value in given.items() if not value or name in more}
    os.environ.update(added, **{_OURS: " ".join(f"{name}={value}" for name, value in added.items())})
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
