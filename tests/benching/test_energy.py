from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.benching.energy import Meter, rapl_joules, rise, watts_of_nvidia, watts_of_powermetrics


def package(folder: Path, number: int, name: str, microjoules: int) -> Path:
    counter = folder / f"intel-rapl:{number}"
    counter.mkdir(parents=True, exist_ok=True)
    (counter / "name").write_text(f"{name}\n")
    (counter / "energy_uj").write_text(f"{microjoules}\n")
    (counter / "max_energy_range_uj").write_text("100000000\n")
    return counter


def test_rapl_counts_packages_and_nothing_within_them(tmp_path: Path) -> None:
    package(tmp_path, 0, "package-0", 5_000_000)
    package(tmp_path, 1, "psys", 9_000_000)
    assert rapl_joules(tmp_path) == {"intel-rapl:0": (5.0, 100.0)}


def test_no_counter_and_a_counter_that_cannot_be_read(tmp_path: Path) -> None:
    assert rapl_joules(tmp_path / "nowhere") is None
    (package(tmp_path, 0, "package-0", 5) / "energy_uj").unlink()
    assert rapl_joules(tmp_path) is None


@given(st.floats(0, 100), st.floats(0, 99))
def test_a_counter_starts_again(begin: float, used: float) -> None:
    assert rise((begin, 100.0), (begin + used) % 100) == pytest.approx(used, abs=1e-9)


def test_the_meter_sums_what_the_packages_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    package(tmp_path, 0, "package-0", 5_000_000)
    package(tmp_path, 1, "package-1", 99_000_000)
    with Meter("cpu", tmp_path) as meter:
        package(tmp_path, 0, "package-0", 7_500_000)
        package(tmp_path, 1, "package-1", 1_000_000)
    assert (meter.joules, meter.source) == (4.5, "RAPL")


def test_the_meter_of_a_machine_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    with Meter("cpu", tmp_path) as meter:
        pass
    assert (meter.joules, meter.source) == (None, "")


def test_nvidia_smi_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 50.0\necho 150.0\nexec sleep 20\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with Meter("cuda", tmp_path / "none") as meter:
        import time

        time.sleep(0.3)
    assert meter.source == "nvidia-smi"
    assert meter.joules == pytest.approx(100 * 0.3, rel=0.5)


def test_what_the_tools_print() -> None:
    assert watts_of_nvidia("61.25\n[N/A]\n 70.75 \n") == [61.25, 70.75]
    printed = "CPU Power: 900 mW\nGPU Power: 100 mW\nCombined Power (CPU + GPU + ANE): 1200 mW\n"
    assert watts_of_powermetrics(printed) == [1.2]
