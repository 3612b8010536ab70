"""Which profile is chosen, and the command that says so."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patients import live_report, report, steps

from streamtrack import config
from streamtrack.cli import _settings, make_parser
from streamtrack.doctor.advice import THOROUGHNESS, Advice, Machine, Named, advise
from streamtrack.doctor.effort import Inference
from streamtrack.doctor.report import SourceReport


@pytest.fixture(autouse=True, scope="module")
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(Path(tmp_path_factory.mktemp("config"))))
        yield


def cost(cpu_ms: float) -> Inference:
    return Inference(model="toy", device="cpu", wall_ms=cpu_ms / 2, cpu_ms=cpu_ms)


def advice(of: SourceReport, cpu_ms: float = 30.0, cores: float = 4, **named: Any) -> Advice:
    return advise(of, cost(cpu_ms), Machine(cores, limited=False), Named(**{"source": of.uri} | named))


def options(command: str) -> dict[str, str]:
    words = shlex.split(command)
    assert words[:2] == ["streamtrack", "run"]
    return {word: value for word, value in itertools.pairwise(words) if word.startswith("--")}


def test_a_strong_machine_gets_every_frame_and_a_weak_one_does_not() -> None:
    chosen = [advice(live_report(), cpu_ms).profile for cpu_ms in (10.0, 150.0, 600.0)]
    assert chosen == ["high_accuracy", "balanced", "fast_cpu"]


def test_a_file_may_use_the_whole_machine() -> None:
    of_file, of_feed = (advice(of, 60.0, 2) for of in (report(), live_report()))
    assert (of_file.profile, of_feed.profile) == ("high_accuracy", "balanced")
    assert [each.run_s is None for each in of_feed.candidates] == [True] * 3
    assert of_file.candidates[0].run_s == pytest.approx(80, abs=1)


def test_the_pauses_of_a_profile_count() -> None:
    # Of 25 fps it looks at 2.5 a second, and at no more than 45 a second of wall time.
    of_file = advice(report(duration_s=3600.0, decode_ms=0.01), 0.1, 64)
    assert of_file.candidates[-1].profile == "fast_cpu"
    assert of_file.candidates[-1].run_s == pytest.approx(3600 * 2.5 / 45)


def test_where_nothing_keeps_up_fewer_frames_are_looked_at() -> None:
    found = advice(live_report(), 2000.0, 2)
    assert (found.profile, found.fps) == ("fast_cpu", 0.5)
    assert options(found.command)["--fps"] == "0.5"
    assert "no more than 0.5 frames a second" in found.why


def test_where_decoding_is_too_much_another_stream_is_asked_for() -> None:
    assert "smaller stream" in advice(live_report(decode_ms=100.0), cores=1).why


def test_a_low_rate_or_a_varying_one_is_sampled_by_time() -> None:
    slow = advice(live_report(steps=steps(fps=12.0), declared_fps=12.0), 150.0, 2)
    assert (slow.profile, slow.fps) == ("balanced", 6.0)
    varying = advice(live_report(steps=steps(variable=True)), 150.0)
    assert varying.fps is not None


def test_a_declared_rate_that_is_wrong_is_not_believed() -> None:
    found = advice(live_report(declared_fps=100.0, steps=steps(fps=10.0)), 60.0)
    assert found.candidates[0].sample_fps == 10.0


def test_what_was_not_measured_is_called_assumed() -> None:
    found = advise(report(), Inference(model="", note="no model is in the cache"), Machine(4, False), Named("clip.mp4"))
    assert found.assumed
    assert "assumed: no model is in the cache" in found.why
    bare = report(decode_ms=None, declared_fps=None, steps=steps(fps=None))
    assert advice(bare).candidates[0].sample_fps == 30.0


def test_a_container_says_how_many_threads() -> None:
    found = advise(report(), cost(30), Machine(1.5, limited=True), Named("clip.mp4"))
    assert (found.threads, options(found.command)["--threads"]) == (1, "1")


def test_the_command_is_one_that_runs() -> None:
    found = advice(live_report(), source="rtsp://camera/my live", options=("transport=udp",))
    args = make_parser().parse_args(shlex.split(found.command)[1:])
    assert (args.source, args.source_option, args.profile) == (
        "rtsp://camera/my live",
        ["transport=udp"],
        found.profile,
    )
    assert config.resolve(args.profile, _settings.given(args), environ={}).config.source.max_staleness_s == 2


def test_a_password_is_in_no_command() -> None:
    found = advice(live_report(), source="rtsp://me:hunter2@camera/live")
    assert "hunter2" not in found.command
    assert options(found.command)["--source-from-env"] == "SOURCE_URL"
    assert "--source-from-env DOOR" in advice(live_report(), source="rtsp://me:pw@camera", from_env="DOOR").command


@given(
    fps=st.floats(0.5, 240),
    cpu_ms=st.floats(0.1, 5000),
    decode_ms=st.floats(0.01, 200),
    cores=st.floats(0.1, 64),
    live=st.booleans(),
    variable=st.booleans(),
)
def test_the_choice_is_the_most_thorough_that_fits(
    fps: float, cpu_ms: float, decode_ms: float, cores: float, live: bool, variable: bool
) -> None:
    make = live_report if live else report
    found = advice(make(steps=steps(fps=fps, variable=variable), decode_ms=decode_ms), cpu_ms, cores)
    assert tuple(each.profile for each in found.candidates) == THOROUGHNESS
    loads = [each.load for each in found.candidates]
    assert loads == sorted(loads, reverse=True)
    fitting = [each.profile for each in found.candidates if each.fits]
    assert found.profile == (fitting or THOROUGHNESS)[0 if fitting else -1]
    make_parser().parse_args(shlex.split(found.command)[1:])
