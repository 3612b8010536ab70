import os
import sys
import time
from pathlib import Path

import pytest

from streamtrack.benching.children import Child, run
from streamtrack.benching.tasks import Failed, InferenceTask, Measured, Ready, StreamTask
from streamtrack.models.spec import ModelSpec

from .samples import make_case

STREAM = StreamTask(clip="c", profile="p", model="m", seconds=1)


def child(code: str) -> Child:
    return Child(STREAM, (sys.executable, "-c", code))


def test_a_case_in_a_process_of_its_own(squares: Path, spec: ModelSpec, clip: Path) -> None:
    task = InferenceTask(case=make_case(), path=str(squares), spec=spec, clip=str(clip), seconds=0.01)
    found = run(task, 60)
    assert isinstance(found, Measured)
    # Not what this process has, with its tests and compilers.
    assert 20 < found.peak_memory_mb < 600


def test_an_error_is_an_answer(squares: Path, spec: ModelSpec, clip: Path) -> None:
    task = InferenceTask(case=make_case(backend="absent"), path=str(squares), spec=spec, clip=str(clip), seconds=0.01)
    found = run(task, 60)
    assert isinstance(found, Failed)
    assert "no backend 'absent'" in found.reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "import os, sys; print('driver is gone', file=sys.stderr); os.kill(os.getpid(), 11)",
            "killed by SIGSEGV (driver",
        ),
        ("raise SystemExit(3)", "ended with exit code 3"),
    ],
)
def test_a_crash_is_an_answer(code: str, reason: str) -> None:
    with child(code) as started:
        found = started.answer(30)
    assert isinstance(found, Failed)
    assert reason in found.reason


def test_silence_is_an_answer_and_nobody_stays_behind(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with child(code) as started:
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.01)
        assert started.answer(0.05) == Failed("no answer within 0 s")
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_stream_waits_for_the_word_go() -> None:
    code = """
import sys
sys.stdin.readline()
print('{"type": "ready"}', flush=True)
assert sys.stdin.readline() == "go\\n"
print('{"type": "failed", "reason": "seen"}', flush=True)
"""
    with child(code) as started:
        assert started.answer(30) == Ready()
        started.go()
        assert started.answer(30) == Failed("seen")
        started.go()
