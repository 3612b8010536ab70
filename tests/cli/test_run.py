"""``streamtrack run`` as a user meets it: a process with pipes, exit codes and files."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamtrack import cli
from streamtrack.cli.run import default_folder
from streamtrack.testing.clips import write_clip
from streamtrack.testing.models import square_frames, write_square_detector

PATHS = [(40.0, 60.0, 2.0, 0.0), (500.0, 250.0, -2.0, 0.5)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_square_detector(tmp_path_factory.mktemp("model") / "squares.onnx"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "two squares.mp4", square_frames(100, PATHS))


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to be interrupted."""
    frames = square_frames(1500, PATHS)
    return write_clip(tmp_path_factory.mktemp("clip") / "long.mp4", frames, options={"preset": "ultrafast"})


def streamtrack(*arguments: object, cwd: Path, stdin: object = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streamtrack", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, stdin=stdin, capture_output=True, text=True, timeout=120)  # type: ignore[call-overload,no-any-return]


Called = Callable[..., tuple[int, str, str]]


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Called:
    """Call the command in this process; return its exit code and what it printed to stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = cli.main(arguments)
        except SystemExit as ended:
            code = int(str(ended.code))
        return (code, *capsys.readouterr())

    return call


def test_a_run_prints_what_was_found_and_where_it_lies(clip: Path, model: str, tmp_path: Path) -> None:
    done = streamtrack("run", clip, "--model", model, "--no-save-frames", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "2 tracks, 40 detections" in done.stderr
    assert "out/two squares/" in done.stderr
    assert "every 5th frame (sparser than 8 fps)" in done.stderr
    assert "\x1b" not in done.stderr
    assert len((tmp_path / "out" / "two squares" / "tracks.jsonl").read_text().splitlines()) == 2


def test_a_pipe_goes_in_and_json_lines_come_out(clip: Path, model: str, tmp_path: Path) -> None:
    with clip.open("rb") as stdin:
        done = streamtrack("run", "-", "--out", "-", "--stride", 2, "--model", model, cwd=tmp_path, stdin=stdin)
    assert done.returncode == 0, done.stderr
    tracks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(track["track_id"], track["frame_count"]) for track in tracks] == [(1, 50), (2, 50)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.mp4"], 4, "missing.mp4"),
        ([".", "--stride", "2"], 4, "folder"),
        (["clip", "--profile", "balancd"], 2, "Did you mean 'balanced'?"),
        (["clip", "--stride", "0"], 2, "source.stride = '0'"),
        (["clip", "--set", "tracker.max_gap=2"], 2, "Did you mean 'tracker.max_gap_s'?"),
        (["clip", "--set", "nonsense"], 2, "section.key=value"),
        (["clip", "--sink", "vidio"], 3, "Did you mean 'video'?"),
        (["clip", "--model", "yunett"], 2, "Did you mean 'yunet'?"),
        (["clip", "--model", "missing.onnx"], 5, "missing.onnx"),
        (["clip", "--out", "/proc/nowhere"], 6, "/proc/nowhere"),
        (["clip", "--nonsense"], 2, "unrecognized arguments"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(
    clip: Path, model: str, called: Called, arguments: list[str], code: int, words: str
) -> None:
    given = [str(clip) if argument == "clip" else argument for argument in arguments]
    if "--model" not in given:
        given += ["--model", model]
    found, out, err = called("run", *given)
    assert found == code, err
    assert words in err
    assert "Traceback" not in err
    assert out == ""


def test_a_mistake_ends_a_process_with_its_exit_code(tmp_path: Path) -> None:
    done = streamtrack("run", "missing.mp4", "--stride", "0", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("streamtrack: error: Setting source.stride = '0'")


def test_debug_shows_the_traceback(called: Called) -> None:
    code, _, err = called("run", "missing.mp4", "--debug")
    assert code == 4
    assert "Traceback" in err


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_complete_lines_and_says_so(
    long_clip: Path, model: str, tmp_path: Path, sent: signal.Signals
) -> None:
    command = [sys.executable, "-m", "streamtrack", "run", str(long_clip), "--stride", "1", "--model", model]
    command += ["--out", "run", "--no-save-frames"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    records = tmp_path / "run" / "detections.jsonl"
    deadline = time.monotonic() + 60
    while not (records.exists() and records.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Interrupted" in stderr
    assert "Traceback" not in stderr
    metrics = json.loads((tmp_path / "run" / "track_metrics.json").read_text())
    assert metrics["status"] == "interrupted"
    found = [json.loads(line) for line in records.read_text().splitlines()]
    # The signal may come between the tracking of a frame and its writing.
    assert metrics["frame_ledger"]["detected"] - len({record["frame_idx"] for record in found}) in (0, 1)
    assert metrics["frame_ledger"]["detected"] < 1500
    assert len((tmp_path / "run" / "tracks.jsonl").read_text().splitlines()) == 2


def test_a_run_is_begun_and_found_complete_by_one_command(clip: Path, model: str, tmp_path: Path) -> None:
    command = ("run", clip, "--model", model, "--out", tmp_path / "run", "--resume")
    first, second = streamtrack(*command, cwd=tmp_path), streamtrack(*command, cwd=tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "nothing to resume" not in first.stderr
    assert "The run in '" in second.stderr
    assert "is complete: there is nothing to resume." in second.stderr
    assert first.stderr.splitlines()[1:] == second.stderr.splitlines()[2:]


def test_a_terminal_sees_a_live_line_and_a_table(clip: Path, model: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "streamtrack", "run", str(clip), "--stride", "1", "--model", model]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, cwd=tmp_path, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    assert process.wait(60) == 0
    text = seen.decode()
    for words in ("/100", "source fps", "tracks", "queue", "ETA", "Found"):
        assert words in text


def test_the_folder_is_named_after_the_source() -> None:
    assert default_folder("a/b/clip.mp4") == "out/clip"
    assert default_folder("-") == "out/stdin"
    assert default_folder("two squares.mp4") == "out/two squares"
    assert default_folder("rtsp://host/live/cam1?x=1") == "out/cam1"
    assert default_folder("rtsp://me:secret@host") == "out/host"
    assert default_folder("rtsp://me:se/cr/et@host/a?b=c") == "out/a"
    assert default_folder("gst:videotestsrc ! x") == "out/gst_videotestsrc_x"
    assert default_folder("shots/*.jpg?rate=5") == "out/shots"
    assert default_folder("*.jpg") == "out/stream"
    assert default_folder("rtsp://10.0.0.1:554/") == "out/10.0.0.1_554"


@pytest.mark.parametrize(("given", "threads"), [([], "1"), (["--threads", "3"], "3")])
def test_thread_pools_of_libraries_are_held_small_before_they_load(
    tmp_path: Path, given: list[str], threads: str
) -> None:
    script = f"""if True:
        import os
        from streamtrack.cli import main
        main(["run", "missing.mp4", *{given}])
        print(os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"])
    """
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.split() == [threads, threads]


def test_a_trap_among_the_settings_is_said_once_and_the_run_goes_on(clip: Path, model: str, called: Called) -> None:
    given = ["--set", "detector.confidence_th=0.6", "--no-save-frames"]
    code, _, err = called("run", str(clip), "--model", model, *given)
    assert code == 0, err
    (line,) = (line for line in err.splitlines() if "warning" in line)
    assert line.startswith("streamtrack: warning: detector.confidence_th: nothing below 0.6 reaches the tracker")


COUNT_THREADS = """
import os, sys, threading
from streamtrack.cli import main

counts, done = [], threading.Event()

def ours():
    return {str(thread.native_id) for thread in threading.enumerate()}

def watch():
    while not done.wait(0.002):
        before, tasks = ours(), set(os.listdir("/proc/self/task"))
        counts.append(len(tasks - before - ours()))

watcher = threading.Thread(target=watch)
watcher.start()
code = main(sys.argv[1:])
done.set()
watcher.join()
# There are none before the run's own work, and what only starts or ends at a moment does not count.
at_work = sorted(filter(None, counts))
print(code, at_work[int(0.95 * len(at_work))] if at_work else 0)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list a process's threads")
@pytest.mark.parametrize(("profile", "least", "most"), [("low_power", 0, 2), ("fast_cpu", 1, 6)])
def test_a_profile_keeps_to_its_threads_those_of_libraries_included(
    profile: str, least: int, most: int, clip: Path, model: str, tmp_path: Path
) -> None:
    # Beside Python's own. ONNX Runtime may have one that does nothing, whatever it is told; of N threads, N decode, and
    # pools of N - 1 stand by in ONNX Runtime and OpenBLAS.
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", COUNT_THREADS, "run", clip, "--model", model, "--profile", profile]
    command += ["--stride", "1", "--set", "runtime.max_fps=0"]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)
    code, found = map(int, done.stdout.split())
    assert code == 0
    assert least <= found <= most
