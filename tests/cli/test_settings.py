"""Options that are settings: named after them, and read as ``--set`` reads them."""

from __future__ import annotations

import argparse

import pytest

from streamtrack import catalogue, cli, config
from streamtrack.cli._settings import given
from streamtrack.errors import ConfigError


def parsed(*arguments: str) -> argparse.Namespace:
    return cli.make_parser().parse_args(arguments)


@pytest.mark.parametrize("command", [["run", "x"], ["demo"], ["config", "show"], ["config", "lint"]])
def test_every_option_with_a_dot_in_its_name_is_a_setting_that_nobody_has_given(command: list[str]) -> None:
    args = parsed(*command)
    options = {name for name in vars(args) if "." in name}
    assert {"source.stride", "source.fps"} <= options <= set(catalogue.settings())
    assert given(args) == {}


def test_an_option_is_what_its_setting_is() -> None:
    options = ["--stride", "3", "--fps", "30/min", "--max-staleness", "300ms", "--threads", "2", "--jpeg-quality", "80"]
    options += ["--save-crops", "--no-save-frames", "--embedder", "sface", "--device", "cpu", "--metrics-port", "0"]
    settings = config.resolve(None, given(parsed("run", "x", *options)), environ={}).config
    assert (settings.source.stride, settings.source.fps, settings.source.max_staleness_s) == (3, 0.5, 0.3)
    assert (settings.runtime.threads, settings.output.jpeg_quality, settings.output.metrics_port) == (2, 80, 0)
    assert (settings.output.save_crops, settings.output.save_frames) == (True, False)
    assert (settings.embedder.model, settings.runtime.device) == ("sface", "cpu")


def test_set_goes_before_an_option_of_its_own() -> None:
    args = parsed("run", "x", "--set", "source.stride=7", "--stride", "3", "--set", "scene.cuts=no", "--save-crops")
    assert given(args) == {"source.stride": "7", "scene.cuts": "no", "output.save_crops": True}


def test_what_cannot_be_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"source\.stride = '2\.5' \(command line\) does not fit: it must be a whole"):
        config.resolve(None, given(parsed("run", "x", "--stride", "2.5")), environ={})
    with pytest.raises(ConfigError, match=r"'source\.stride' is not a setting: write section\.key=value"):
        given(parsed("run", "x", "--set", "source.stride"))
