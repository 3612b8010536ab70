"""What a run makes of everything that goes wrong with a real camera: the table of faults.

``python benchmarks/bench_faults.py [--transport tcp|udp ...] [--fault WORDS ...]``. The camera is the RTSP server of
the live tests (GStreamer's, Debian packages), the faults are theirs too, and the source has its default options.
Noticed is the time from the fault to the reason that a user is told; back is the time from the camera being there
again to the first result, and the wait before it that had been announced. Some minutes: a wrong password is tried
again after half of one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_AT_ONCE = 6
CLIP_S = 10.0


def live_tests() -> tuple[ModuleType, ModuleType]:
    """Return the modules of the tests that hold the RTSP server and the faults."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "live"))
    try:
        import faults
        import servers
    finally:
        del sys.path[0]
    return servers, faults


def row(transport: str, outcome: Any) -> str:
    """Return the line of one outcome."""
    fault, noticed, gap_s = outcome.fault, outcome.noticed, outcome.longest_gap_s
    seconds = f"{noticed.at_s - outcome.struck_s:.2f} s" if noticed else "-"
    back_s = outcome.recovered_s - outcome.mended_s
    wait = f"(wait {outcome.next_try_s:.1f})" if outcome.next_try_s else ""
    # The numbers that frames say start again after ten seconds.
    lost = outcome.lost if gap_s < CLIP_S else "-"
    ids = "-" if fault.at_start else "kept" if outcome.kept_id else "new"
    then = " ".join(outcome.states[2:]) or "-"
    return (
        f"{fault.name:32} {transport:4} {seconds:>8} {back_s:7.2f} s {wait:11} {lost:>5} {ids:4} {gap_s:6.2f} s  {then}"
    )


def table(transports: list[str], words: list[str], **options: float) -> list[str]:
    """Return the lines of the table, without its head."""
    servers, faults = live_tests()
    wanted = [fault for fault in faults.FAULTS if not words or any(word in fault.name for word in words)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(_AT_ONCE) as pool:
        clips = servers.Clips(Path(folder))
        clips.access_units()
        running = [
            (way, pool.submit(faults.rehearse, clips, fault, transport=way, digest=way == "udp", options=options))
            for fault in wanted
            for way in transports
        ]
        return [row(way, outcome.result()) for way, outcome in running]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transport", nargs="+", default=["tcp", "udp"], choices=("tcp", "udp"))
    parser.add_argument("--fault", nargs="+", default=[], help="words in the names of those to try")
    args = parser.parse_args()
    print(f"{'fault':32} {'over':4} {'noticed':>8} {'back':>9}{'':12} {'lost':>5} {'ids':4} {'gap':>8}  then")
    print("\n".join(table(args.transport, args.fault)))


@pytest.mark.requires(
    program="ffmpeg",
    typelib="GstRtspServer-1.0",
    install="the live tests say which Debian packages their RTSP server needs",
)
def test_the_table_says_what_happened() -> None:
    (line,) = table(["tcp"], ["paused for 1 s"])
    assert line.startswith("paused for 1 s")
    assert line.split("s ")[-1].split()[-1] == "-"
    assert " kept " in line


if __name__ == "__main__":
    main()
