"""The machine itself, this one and some that it is not."""

from __future__ import annotations

import os
import subprocess
from collections import namedtuple
from typing import Any

import pytest

from streamtrack import allowance
from streamtrack.doctor import hardware

Usage = namedtuple("Usage", "total used free")


def test_a_container_with_fewer_processors_is_told_how_many_threads_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for module in (hardware, allowance):
        monkeypatch.setattr(module, "cgroup_cores", lambda: 2.5)
    found = hardware.processor()
    assert (found.mark, found.remedy) == ("note", "streamtrack run ... --threads 2")
    assert found.facts["usable_cores"] == 2.5
    assert "the control group of this container grants 2.5" in found.text


def test_this_machine_has_a_processor_memory_and_a_disk() -> None:
    assert hardware.processor().facts["usable_cores"] > 0
    assert hardware.memory().facts.keys() == {"total_bytes", "available_bytes", "cgroup_bytes"}
    assert hardware.disk().facts["free_bytes"] > 0


def test_little_room_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.shutil, "disk_usage", lambda _: Usage(10, 9, 1))
    assert hardware.disk().mark == "note"
    monkeypatch.setattr(hardware, "_memory", lambda: (1 << 28, None))
    assert hardware.memory().mark == "note"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "--out" in hardware.disk().remedy


def fake_nvidia(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if isinstance(answer, Exception):
            raise answer
        return subprocess.CompletedProcess(command, 0, stdout=answer)

    monkeypatch.setattr(hardware.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(hardware.subprocess, "run", run)


def test_nvidia_gpus_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia(monkeypatch, "NVIDIA H200, 143771 MiB, 570.86.15\nTesla T4, 15360 MiB, 570.86.15\n")
    monkeypatch.setattr(hardware.platform, "system", lambda: "Linux")
    found = hardware.accelerators()
    assert [each["name"] for each in found.facts["accelerators"]] == ["NVIDIA H200", "Tesla T4"]
    assert found.text.startswith("NVIDIA H200 (143771 MiB, driver 570.86.15), Tesla T4")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (subprocess.CalledProcessError(9, "nvidia-smi", output="Failed to initialize NVML\n"), "Failed to initialize"),
        (subprocess.TimeoutExpired("nvidia-smi", 5), "no answer"),
    ],
)
def test_a_driver_that_does_not_work_is_noted(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    fake_nvidia(monkeypatch, error)
    found = hardware.accelerators()
    assert found.mark == "note"
    assert words in found.text
