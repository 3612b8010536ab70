"""The contracts stay small, and options refuse what nobody understands."""

from __future__ import annotations

import inspect

import msgspec
import pytest

from streamtrack import api

CONTRACTS = {"Source": 3, "Backend": 1, "Session": 2, "Sink": 3}


def methods(contract: type) -> list[str]:
    # A Protocol brings an __init__ and a __subclasshook__ of its own.
    return [
        name
        for name, member in vars(contract).items()
        if inspect.isfunction(member) and name not in {"__init__", "__subclasshook__"}
    ]


def test_every_contract_has_at_most_three_methods() -> None:
    protocols = {
        n: c for n, c in vars(api).items() if getattr(c, "_is_protocol", False) and c.__module__ == api.__name__
    }
    assert {name: len(methods(contract)) for name, contract in protocols.items()} == CONTRACTS
    assert max(CONTRACTS.values()) <= 3


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_says_on_which_thread_it_lives_or_when_it_is_made(name: str) -> None:
    contract = getattr(api, name)
    assert "thread" in contract.__doc__ or "onstructed" in contract.__doc__
    for method in methods(contract):
        assert inspect.getdoc(getattr(contract, method)), f"{name}.{method} has no docstring"


@pytest.mark.parametrize("options", [api.SourceOptions, api.BackendOptions])
def test_options_have_defaults_and_refuse_unknown_keys(options: type[msgspec.Struct]) -> None:
    assert msgspec.convert({}, options) == options()
    with pytest.raises(msgspec.ValidationError, match="strid"):
        msgspec.convert({"strid": 2}, options)
    with pytest.raises(AttributeError):
        setattr(options(), msgspec.structs.fields(options)[0].name, 1)


def test_an_input_size_is_two_whole_numbers() -> None:
    assert msgspec.convert({"input_size": [480, 640]}, api.BackendOptions).input_size == (480, 640)
    with pytest.raises(msgspec.ValidationError, match=r"\$\.input_size"):
        msgspec.convert({"input_size": [480]}, api.BackendOptions)
