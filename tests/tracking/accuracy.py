"""The tracker's scores on sequences with ground truth: ``python tests/tracking/accuracy.py MOT_FOLDER``.

Run as a program it prints the table of decision record 0005, for whatever settings follow: ``mode=reference``.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import msgspec

from streamtrack.evaluation import Scores, Truth, combine, pair, read_truth, score
from streamtrack.params import TrackerParams
from streamtrack.retracking import retrack
from streamtrack.tape import Tape, read_tape

GROUPS = {
    "MOT15": ("ADL-Rundle-6", "ETH-Sunnyday", "KITTI-17", "PETS09-S2L1", "TUD-Campus", "TUD-Stadtmitte"),
    "MOT17-02+04": ("MOT17-02-FRCNN", "MOT17-04-FRCNN"),
    "MOT17-05+09": ("MOT17-05-FRCNN", "MOT17-09-FRCNN"),
}
STRIDES = (1, 3, 6, 10)
"""Frames 1, 1 + stride, 1 + 2 stride, ... are looked at."""


@cache
def sequence(folder: Path) -> tuple[Tape, Truth]:
    return read_tape(folder / "det" / "det.txt"), read_truth(folder / "gt" / "gt.txt")


def group_scores(mot: Path, group: str, stride: int, params: TrackerParams) -> Scores:
    """Track a group's sequences at a stride and score them together."""
    scores = []
    for name in GROUPS[group]:
        tape, truth = sequence(mot / name)
        scores.append(score(pair(truth, retrack(tape.strided(stride), params).tracks)))
    return combine(scores)


def main(mot: str, *settings: str) -> None:
    params = msgspec.convert(dict(setting.split("=", 1) for setting in settings), TrackerParams, strict=False)
    print("| group | stride | HOTA | IDF1 | MOTA | IDSW |\n|---|---|---|---|---|---|")
    for group in GROUPS:
        for stride in STRIDES:
            s = group_scores(Path(mot), group, stride, params)
            shares = " | ".join(f"{100 * share:.2f}" for share in (s.hota, s.idf1, s.mota))
            print(f"| {group} | {stride} | {shares} | {s.switches} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
