"""Child processes seen from the parent: a task goes in, an answer comes out, whatever becomes of the process."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Self

import msgspec

from streamtrack.benching.tasks import GO, Answer, Failed, Task
from streamtrack.errors import redact

_COMMAND = (sys.executable, "-m", "streamtrack.benching.child")
_ENDING_S = 5.0


class Child:
    """One child; it does not outlive the block.

    Args:
        task: what it is to do.
        command: the program.
    """

    def __init__(self, task: Task, command: tuple[str, ...] = _COMMAND) -> None:
        self._task, self._command = task, command
        self._pending = b""

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()
        # In a session of its own, so that Ctrl-C reaches the parent alone, which ends it.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
        )
        self._tell(msgspec.json.encode(self._task))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                try:
                    stream.close()
                except OSError:  # a pipe that nobody reads any more
                    continue
        self._errors.close()

    def go(self) -> None:
        """Tell a stream to measure now."""
        self._tell(GO.encode())

    def answer(self, timeout_s: float) -> Answer:
        """Return its next answer; a crash or a silence is one, too."""
        out = self._process.stdout
        assert out is not None
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                return Failed(f"no answer within {timeout_s:.0f} s")
            data = out.read1(1 << 16)  # type: ignore[attr-defined]  # a BufferedReader
            if not data:
                return Failed(self._end())
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        answer: Answer = msgspec.json.decode(line, type=Answer)
        return answer

    def _tell(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it has ended; its answer says why

    def _end(self) -> str:
        try:
            code = self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            return "it closed its output and hangs"
        self._errors.seek(0)
        said = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        how = f"killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        return redact(f"crashed: {how}" + (f" ({said[-1][:200]})" if said else ""))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run(task: Task, timeout_s: float) -> Answer:
    """Run a task in a child process and return its answer."""
    with Child(task) as child:
        return child.answer(timeout_s)
