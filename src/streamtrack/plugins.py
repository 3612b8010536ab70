"""Makes a plug-in from how a person writes it: its name, what it is given, and its own options."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from streamtrack import address, config, registry
from streamtrack.api import Delivery, Sink, Source, SourceOptions
from streamtrack.errors import ConfigError, did_you_mean


def make_source(written: str, options: SourceOptions, given: Mapping[str, Any]) -> Source:
    """Return the source that ``written`` means, not yet open.

    Args:
        written: as a person writes it; see ``streamtrack.address``.
        options: what any source is asked for.
        given: options of its own, beyond those behind a ``?``.

    Raises:
        PluginError: the plug-in that serves it is broken.
        ConfigError: an option that it does not have, or a value that does not fit.
    """
    text = address.read_secret(written)
    plugin, uri = address.locate(text, registry.names("sources"))
    factory = registry.load("sources", plugin)
    own: dict[str, Any] = {}
    if not getattr(factory, "reads_query", False):
        uri, own = address.split_options(uri, known_options(factory))
    made: Source = factory(uri, options, **convert_options("source", plugin, factory, {**own, **given}))
    return made


def local_file(written: str) -> Path | None:
    """Return the path of the video file that a source is; None where it is anything else, such as a feed or a pipe.

    Args:
        written: as a person writes it; see ``streamtrack.address``.
    """
    if written.startswith("file:") and not Path(written.removeprefix("file:").removeprefix("//")).is_file():
        # A secret may come through a pipe, which can be read only once.
        return None
    text = address.read_secret(written)
    plugin, uri = address.locate(text, registry.names("sources"))
    if plugin != "pyav" or text == "-":
        return None
    path, _ = address.split_options(uri, known_options(registry.load("sources", plugin)))
    path = path.removeprefix("file://")
    return None if "://" in path else Path(path)


def make_sink(
    name: str, factory: Callable[..., Any], brought: Sequence[Any], given: Mapping[str, Any]
) -> tuple[Sink, Delivery]:
    """Return the sink ``name``, not yet open, and how results shall reach it.

    Args:
        name: of the plug-in, for messages.
        factory: the plug-in.
        brought: what its constructor is given beside options.
        given: options by name, its own and those of ``Delivery``.

    Raises:
        ConfigError: an option that it does not have, or a value that does not fit.
    """
    general = typing.get_type_hints(Delivery, include_extras=True)
    options = _convert("sink", name, _option_types(factory) | general, given)
    delivery = Delivery(**{key: options.pop(key) for key in general if key in options})
    made: Sink = factory(*brought, **options)
    return made, delivery


def known_options(factory: Callable[..., Any]) -> list[str]:
    """Return the names of the options of a plug-in's own.

    They are the keyword-only parameters of its constructor, and the keys of ``**rest: Unpack[SomeTypedDict]``.
    """
    return list(_option_types(factory))


def _option_types(factory: Callable[..., Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(factory.__init__) if inspect.isclass(factory) else typing.get_type_hints(factory)
    types = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name in hints:
            types[name] = hints[name]
        elif parameter.kind is parameter.VAR_KEYWORD and typing.get_origin(hints.get(name)) is typing.Unpack:
            types |= typing.get_type_hints(typing.get_args(hints[name])[0])
    return types


def read_sink(written: str) -> tuple[str, Callable[..., Sink], dict[str, str]]:
    """Return the name of a sink, what makes it, and the options that are given with it, not yet converted.

    Args:
        written: ``name:key=value,key=value``.

    Raises:
        PluginError: there is none of this name, or it is broken.
        ConfigError: what follows the name are no options.
    """
    name, _, text = written.partition(":")
    factory = registry.load("sinks", name)
    # A comma that no KEY= follows belongs to the value: a list of servers.
    pairs = config.parse_assignments([pair for pair in re.split(r",(?=\w+=)", text) if pair])
    return name, factory, dict(_from_elsewhere(key, value, known_options(factory)) for key, value in pairs.items())


def _from_elsewhere(key: str, value: str, known: Collection[str]) -> tuple[str, str]:
    """Return an option of a sink; one that is given as ``KEY_env`` or ``KEY_file`` is read from there.

    Raises:
        ConfigError: there is no such variable or file.
    """
    option, _, place = key.rpartition("_")
    if key in known or option not in known or place not in ("env", "file"):
        return key, value
    if place == "env":
        return option, config.environment_value(value)
    try:
        return option, Path(value).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{value}', which {key} names, cannot be read: {error}.") from error


def convert_options(kind: str, name: str, factory: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` as keyword arguments for ``factory``, converted to what its annotations say.

    Args:
        kind: ``source`` or ``sink``, for messages.
        name: of the plug-in, for messages.
        factory: the plug-in.
        given: values by name, as text or as what they are.

    Raises:
        ConfigError: an option that it does not have, or a value that does not fit.
    """
    return _convert(kind, name, _option_types(factory), given)


def _convert(kind: str, name: str, hints: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    options = {}
    for key, value in given.items():
        if key not in hints:
            raise ConfigError(
                f"The {kind} '{name}' has no option '{key}'.{did_you_mean(key, hints)} "
                f"Options: {', '.join(hints) or 'none'}."
            )
        try:
            options[key] = msgspec.convert(value, hints[key], strict=False)
        except msgspec.ValidationError as error:
            choices = _choices(hints[key])
            reason = f" must be {' or '.join(choices)}" if choices else f" does not fit: {error}"
            raise ConfigError(
                f"Option {key}={value} of the {kind} '{name}'{reason}.{did_you_mean(str(value), choices)}"
            ) from error
    return options


def _choices(hint: Any) -> list[str]:
    """Return the words that an annotation allows, where it allows only words."""
    if typing.get_origin(hint) is Literal:
        return [str(word) for word in typing.get_args(hint)]
    kinds = [each for each in typing.get_args(hint) if each is not type(None)]
    return _choices(kinds[0]) if len(kinds) == 1 else []
