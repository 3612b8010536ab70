"""What runs in a child process: ``python -m streamtrack.benching.child``, a task as a line of JSON, answers likewise.

A process of its own gives each case memory figures of its own, and makes a crash of a runtime a row in a table.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import msgspec

from streamtrack.benching.tasks import Answer, Failed, InferenceTask, PipelineTask, Ready, StreamTask, Task
from streamtrack.config import limit_library_threads, resolve
from streamtrack.errors import StreamtrackError, redact


def main() -> None:
    """Do the task on standard input and print its answer."""
    # Libraries print what they like: answers go to a descriptor of their own.
    answers = os.dup(1)
    os.dup2(2, 1)
    # Whoever started this process ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def answer(value: Answer) -> None:
        data = memoryview(msgspec.json.encode(value) + b"\n")
        while data:
            data = data[os.write(answers, data) :]

    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    answer(_attempt(task, answer))


def _attempt(task: Task, answer: Callable[[Answer], None]) -> Answer:
    try:
        # As a run with the same settings has it.
        limit_library_threads(
            task.case.threads if isinstance(task, InferenceTask) else resolve(task.profile).config.runtime.threads
        )
        return perform(task, ready=lambda: answer(Ready()), wait_for_go=_wait)
    except StreamtrackError as error:
        return Failed(redact(str(error)))
    except Exception as error:  # a runtime may raise anything
        return Failed(redact(f"{type(error).__name__}: {error}"))


def perform(task: Task, *, ready: Callable[[], None], wait_for_go: Callable[[], None]) -> Answer:
    """Do a task; see ``streamtrack.benching.tasks``."""
    if isinstance(task, PipelineTask):
        from streamtrack.benching.streaming import run_pipeline

        return run_pipeline(task)
    if isinstance(task, StreamTask):
        from streamtrack.benching.streaming import run_stream

        return run_stream(task, ready, wait_for_go)
    from streamtrack.benching.inference import run_inference

    return run_inference(task)


def _wait() -> None:
    sys.stdin.buffer.readline()


if __name__ == "__main__":
    main()
