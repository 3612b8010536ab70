"""Finds plug-ins by entry point, without importing any until it is chosen."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from streamtrack.errors import PluginError, did_you_mean

KINDS = ("sources", "backends", "sinks")


class Plugin(NamedTuple):
    """One installed plug-in."""

    kind: str
    name: str
    target: str
    """``module:object``."""
    distribution: str
    """Name and version of the package that brings it."""
    error: str | None
    """Why its import failed, or None."""


def _group(kind: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"streamtrack.{kind}")}


def names(kind: str) -> list[str]:
    """Return the names of the installed plug-ins of ``kind``, whole or broken."""
    return sorted(_group(kind))


def load(kind: str, name: str) -> Any:
    """Import and return the plug-in ``name`` of ``kind`` (``sources``, ``backends`` or ``sinks``).

    Raises:
        PluginError: there is none of that name, or its import failed.
    """
    known = _group(kind)
    if name not in known:
        installed = ", ".join(sorted(known)) or "none (is streamtrack itself installed, or only on the path?)"
        raise PluginError(
            f"There is no {kind[:-1]} '{name}'.{did_you_mean(name, known)} Installed {kind}: {installed}."
        )
    try:
        return known[name].load()
    except Exception as error:
        raise PluginError(_failure(kind, known[name], error)) from error


def _failure(kind: str, entry: EntryPoint, error: Exception) -> str:
    text = f"The {kind[:-1]} '{entry.name}' cannot be imported: {type(error).__name__}: {error}."
    if isinstance(error, ModuleNotFoundError) and error.name:
        text += f" Install what it needs: pip install {error.name.partition('.')[0]}."
    return text


def plugins() -> list[Plugin]:
    """Import every installed plug-in and return them all, the broken ones with their reason."""
    found = []
    for kind in KINDS:
        for name, entry in sorted(_group(kind).items()):
            error = None
            try:
                entry.load()
            except Exception as failure:
                error = _failure(kind, entry, failure)
            package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
            found.append(Plugin(kind, name, entry.value, package, error))
    return found
