"""What a process may use of a machine, this one and some that it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtrack.allowance import cgroup_cores, cgroup_memory, usable_cores


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/cpu.max": "50000 100000\n"}, 0.5),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/box\n",
                "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        ({"sys/fs/cgroup/cpu.max": "nonsense\n"}, None),
    ],
)
def test_a_control_group_limits_the_processors(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    assert cgroup_cores(write(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({}, None),
        ({"sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"sys/fs/cgroup/memory.max": "1073741824\n"}, 1 << 30),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912"}, 1 << 29),
    ],
)
def test_a_control_group_limits_the_memory(tmp_path: Path, files: dict[str, str], size: int | None) -> None:
    assert cgroup_memory(write(tmp_path, files)) == size


@pytest.mark.parametrize(("granted", "usable"), [(None, 4.0), (1.5, 1.5), (8.0, 4.0)])
def test_the_sparser_of_affinity_and_control_group_holds(
    monkeypatch: pytest.MonkeyPatch, granted: float | None, usable: float
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr("streamtrack.allowance.cgroup_cores", lambda: granted)
    assert usable_cores() == usable
