"""Write small sequences and what TrackEval says of them: ``python make_goldens.py FOLDER`` where TrackEval is.

The files in ``tests/golden/evaluation`` were made with trackeval 1.3.0, and are made anew only to add a case.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

FRAMES = 40
Rows = list[list[float]]


class Story:
    """What is random about a sequence."""

    def __init__(self, seed: int, *, columns: int, whole: bool, distractors: bool = False, size: int = 200) -> None:
        self.rng = np.random.default_rng(seed)
        self.columns, self.whole, self.distractors, self.size = columns, whole, distractors, size

    def box(self, box: np.ndarray) -> list[float]:
        return [float(v) for v in (np.round(box) if self.whole else np.round(box, 2))]

    def truth(self) -> Rows:
        """Walkers that come and go; with flags, and classes where the columns are those of MOT17."""
        rows: Rows = []
        for walker in range(1, 8):
            at = self.rng.uniform(0, self.size, 2)
            step = self.rng.normal(0, 3, 2)
            side = self.rng.uniform(15, 40, 2)
            kind = int(self.rng.choice([1, 1, 1, 2, 6, 7, 8, 12])) if self.distractors else 1
            first, last = sorted(self.rng.integers(1, FRAMES + 1, 2))
            for frame in range(first, last + 1):
                at = at + step
                flag = float(self.rng.random() > 0.1)
                rest = [float(kind), 0.5] if self.columns == 9 else [-1.0, -1.0, -1.0]
                rows.append([float(frame), float(walker), *self.box(np.concatenate([at, side])), flag, *rest])
        # In the file they lie frame by frame in no order of identity, and a few frames are empty.
        self.rng.shuffle(rows)
        return sorted((r for r in rows if r[0] % 9), key=lambda r: r[0])

    def tracks(self, truth: Rows) -> Rows:
        """The walkers, jittered, some missing, some twice, with identities that change; and boxes of nobody."""
        identity = {r[1]: 100 + int(r[1]) for r in truth}
        rows: Rows = []
        for r in truth:
            if self.rng.random() < 0.05:
                a, b = self.rng.choice(list(identity), 2)
                identity[a], identity[b] = identity[b], identity[a]
            if self.rng.random() < 0.15 or r[0] % 11 == 0:
                continue
            jitter = self.rng.normal(0, 2.5, 4)
            rows.append([r[0], float(identity[r[1]]), *self.box(np.array(r[2:6]) + jitter)])
            if self.rng.random() < 0.2:
                rows.append([r[0], 200 + r[1], *r[2:6]])
        for frame in range(1, FRAMES + 1):
            if self.rng.random() < 0.3:
                box = np.concatenate([self.rng.uniform(0, self.size, 2), self.rng.uniform(0, 40, 2)])
                rows.append([float(frame), float(300 + self.rng.integers(3)), *self.box(box)])
        taken: set[tuple[float, float]] = set()
        return [[*r, 1.0, -1.0, -1.0, -1.0] for r in rows if not ((r[0], r[1]) in taken or taken.add((r[0], r[1])))]


CASES = {
    "floats": ("MOT15", Story(1, columns=10, whole=False)),
    "crowd": ("MOT15", Story(2, columns=10, whole=True, size=40)),
    "ties": ("MOT15", Story(3, columns=10, whole=True, size=12)),
    "distractors": ("MOT17", Story(4, columns=9, whole=False, distractors=True)),
    "reflections": ("MOT17", Story(5, columns=9, whole=True, distractors=True, size=60)),
    "vehicles": ("MOT20", Story(6, columns=9, whole=False, distractors=True)),
    "nothing": ("MOT15", Story(7, columns=10, whole=False)),
}
STRIDES = (1, 3)


def text(rows: Iterable[list[float]]) -> str:
    return "".join(",".join(f"{v:g}" for v in row) + "\n" for row in rows)


def judge(benchmark: str, sequences: dict[str, tuple[Rows, Rows]], stride: int = 1) -> dict[str, dict[str, Any]]:
    """Return TrackEval's scores of each sequence, and of all of them as ``COMBINED_SEQ``."""
    import trackeval

    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        for sequence, (truth, tracks) in sequences.items():
            for path, rows in (("gt/{}/gt/gt.txt", truth), ("out/x/data/{}.txt", tracks)):
                file = folder / path.format(sequence)
                file.parent.mkdir(parents=True, exist_ok=True)
                # TrackEval has no stride: the frames that were fed are numbered anew.
                file.write_text(text([(r[0] - 1) // stride + 1, *r[1:]] for r in rows if (r[0] - 1) % stride == 0))
        data = trackeval.datasets.MotChallenge2DBox(
            {
                "GT_FOLDER": str(folder / "gt"),
                "TRACKERS_FOLDER": str(folder / "out"),
                "TRACKERS_TO_EVAL": ["x"],
                "BENCHMARK": benchmark,
                "SEQ_INFO": dict.fromkeys(sequences, FRAMES),
                "SKIP_SPLIT_FOL": True,
                "PRINT_CONFIG": False,
            }
        )
        metrics = [
            trackeval.metrics.HOTA(),
            trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
            trackeval.metrics.Identity({"PRINT_CONFIG": False}),
        ]
        found: dict[str, list[dict[str, Any]]] = {}
        for sequence in sequences:
            raw = data.get_raw_seq_data("x", sequence)
            ready = data.get_preprocessed_seq_data(raw, "pedestrian")
            found[sequence] = [metric.eval_sequence(ready) for metric in metrics]
        found["COMBINED_SEQ"] = [
            metric.combine_sequences({name: result[k] for name, result in found.items()})
            for k, metric in enumerate(metrics)
        ]
    return {sequence: summary(*results) for sequence, results in found.items()}


def summary(hota: dict[str, Any], clear: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """Return them under this project's names."""
    means = {"hota": "HOTA", "deta": "DetA", "assa": "AssA", "loca": "LocA"}
    plain = {"mota": "MOTA", "motp": "MOTP"}
    whole = {"false_positives": "CLR_FP", "false_negatives": "CLR_FN", "switches": "IDSW", "fragments": "Frag"}
    rates = {"idf1": "IDF1", "idp": "IDP", "idr": "IDR"}
    return {
        **{ours: float(np.mean(hota[theirs])) for ours, theirs in means.items()},
        **{ours: float(clear[theirs]) for ours, theirs in plain.items()},
        **{ours: float(identity[theirs]) for ours, theirs in rates.items()},
        **{ours: int(clear[theirs]) for ours, theirs in whole.items()},
        "mostly_tracked": int(clear["MT"]),
        "mostly_lost": int(clear["ML"]),
        "hota_alpha": [float(v) for v in hota["HOTA"]],
    }


def main(folder: Path) -> None:
    sequences: dict[str, tuple[Rows, Rows]] = {}
    for name, (_, story) in CASES.items():
        truth = story.truth()
        sequences[name] = (truth, [] if name == "nothing" else story.tracks(truth))
        for file, rows in zip(("gt/gt.txt", "tracks.txt"), sequences[name], strict=True):
            path = folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(rows))
    expected = []
    for benchmark in ("MOT15", "MOT17", "MOT20"):
        own = {name: sequences[name] for name, (b, _) in CASES.items() if b == benchmark}
        expected += [
            {"benchmark": benchmark.lower(), "stride": stride, "scores": judge(benchmark, own, stride)}
            for stride in STRIDES
        ]
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
