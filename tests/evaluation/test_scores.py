"""The scores agree with TrackEval's: on what it said of small sequences, and on the official results."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack.evaluation import Scores, Tracks, Truth, combine, pair, read_tracks, read_truth, score

GOLDENS = Path(__file__).resolve().parent.parent / "golden" / "evaluation"
EXPECTED: list[dict[str, Any]] = json.loads((GOLDENS / "expected.json").read_text(encoding="utf-8"))


def assert_agrees(scores: Scores, expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        assert getattr(scores, name) == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: f"{case['benchmark']}-stride{case['stride']}")
def test_the_scores_are_those_of_trackeval(case: dict[str, Any]) -> None:
    scores = {}
    for name in case["scores"].keys() - {"COMBINED_SEQ"}:
        truth = read_truth(GOLDENS / name / "gt" / "gt.txt", case["benchmark"])
        scores[name] = score(pair(truth, read_tracks(GOLDENS / name / "tracks.txt"), case["stride"]))
        assert_agrees(scores[name], case["scores"][name])
    assert_agrees(combine(scores.values()), case["scores"]["COMBINED_SEQ"])


def test_the_goldens_hold_every_difficulty() -> None:
    names = {name for case in EXPECTED for name in case["scores"]}
    assert names == {path.name for path in GOLDENS.iterdir() if path.is_dir()} | {"COMBINED_SEQ"}
    every = [scores for case in EXPECTED for scores in case["scores"].values()]
    for field in ("switches", "fragments", "false_positives", "mostly_lost", "mostly_tracked"):
        assert any(scores[field] for scores in every), field


GROUPS = {
    "MOT15": ("ADL-Rundle-6", "ETH-Sunnyday", "KITTI-17", "PETS09-S2L1", "TUD-Campus", "TUD-Stadtmitte"),
    "MOT17-02+04": ("MOT17-02-FRCNN", "MOT17-04-FRCNN"),
    "MOT17-05+09": ("MOT17-05-FRCNN", "MOT17-09-FRCNN"),
}
# HOTA in per cent and identity switches of the official ByteTrack at strides 1, 3, 6 and 10.
OFFICIAL = {
    "MOT15": {1: (42.5, 197), 3: (37.6, 193), 6: (30.5, 256), 10: (25.1, 232)},
    "MOT17-02+04": {1: (48.4, 90), 3: (49.5, 46), 6: (47.9, 52), 10: (44.0, 75)},
    "MOT17-05+09": {1: (44.6, 81), 3: (39.7, 109), 6: (34.5, 96), 10: (28.9, 105)},
}


@pytest.mark.parametrize("group", GROUPS)
def test_the_official_results_score_as_they_should(shared_data: Path, group: str) -> None:
    truths = {name: read_truth(shared_data / "mot" / name / "gt" / "gt.txt") for name in GROUPS[group]}
    assert {truth.benchmark for truth in truths.values()} == {group[:5].lower()}
    for stride, (hota, switches) in OFFICIAL[group].items():
        scores = []
        for name, truth in truths.items():
            with gzip.open(shared_data / "golden" / "bytetrack" / f"stride{stride}" / f"{name}.txt.gz", "rt") as lines:
                rows = np.loadtxt(lines, delimiter=",", ndmin=2)
            found = Tracks(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2:6])
            scores.append(score(pair(truth, found, stride)))
        combined = combine(scores)
        assert round(100 * combined.hota, 1) == hota
        assert combined.switches == switches


# --- what must hold without anybody's word for it ---


def sequence_of(ids: list[list[int]], offset: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, ids and boxes, ids[t][k] standing at place k in frame t; -1 for nobody."""
    rows = [(t + 1, who, k) for t, row in enumerate(ids) for k, who in enumerate(row) if who >= 0]
    frames, who, place = np.array(rows, np.int64).reshape(-1, 3).T
    corner = 100.0 * place[:, None] + np.array([[0.0, 0.0, 10.0, 10.0]])
    return frames, who, corner + np.array([offset, 0.0, offset, 0.0])


def judged(truth: list[list[int]], tracks: list[list[int]], offset: float = 0.0) -> Scores:
    frames, who, boxes = sequence_of(truth)
    everything, nothing = np.ones(len(who), bool), np.zeros(len(who), bool)
    return score(pair(Truth(frames, who, boxes, everything, nothing, "none"), Tracks(*sequence_of(tracks, offset))))


IDS = st.lists(st.permutations([1, 2, -1]), min_size=1, max_size=8)


@given(IDS)
def test_the_truth_itself_is_perfect(truth: list[list[int]]) -> None:
    scores = judged(truth, truth)
    perfect = (scores.hota, scores.deta, scores.assa, scores.loca, scores.mota, scores.motp, scores.idf1)
    assert perfect == (1.0,) * 7
    assert (scores.switches, scores.false_positives, scores.false_negatives, scores.mostly_lost) == (0, 0, 0, 0)
    assert scores.mostly_tracked == scores.truth_ids


@given(IDS, IDS)
def test_names_of_identities_do_not_matter(truth: list[list[int]], tracks: list[list[int]]) -> None:
    renamed = [[-1 if who < 0 else 1000 - who for who in row] for row in tracks]
    for a, b in zip(judged(truth, tracks), judged(truth, renamed), strict=True):
        assert np.allclose(a, b)


@given(IDS, IDS)
def test_sequences_add_up(truth: list[list[int]], tracks: list[list[int]]) -> None:
    one = judged(truth, tracks)
    both = combine([one, one])
    assert both.truth_boxes == 2 * one.truth_boxes
    assert (both.hota, both.mota, both.idf1) == pytest.approx((one.hota, one.mota, one.idf1))


def test_an_exchange_of_two_identities_is_two_switches() -> None:
    scores = judged([[1, 2]] * 6, [[7, 8]] * 3 + [[8, 7]] * 3)
    assert (scores.switches, scores.fragments, scores.deta) == (2, 0, 1.0)
    # Each pair of identities shares 3 frames of 6 + 6: 3 / (12 - 3).
    assert scores.assa == pytest.approx(3 / 9)
    assert scores.idf1 == 0.5
    assert scores.mota == pytest.approx((12 - 2) / 12)


def test_a_gap_is_a_fragment_and_no_switch() -> None:
    scores = judged([[1]] * 5, [[7], [7], [-1, 3], [7], [7]])
    assert (scores.switches, scores.fragments, scores.false_negatives, scores.false_positives) == (0, 1, 1, 1)


def test_an_overlap_counts_up_to_its_alpha() -> None:
    scores = judged([[1]] * 4, [[7]] * 4, offset=2.5)  # 7.5 of 12.5: an IoU of 0.6
    assert (scores.hota_alpha > 0).tolist() == [True] * 12 + [False] * 7
    assert scores.hota == pytest.approx(12 / 19)
    assert scores.loca == pytest.approx((12 * 0.6 + 7) / 19)
    assert (scores.idf1, scores.mota, scores.motp) == pytest.approx((1.0, 1.0, 0.6))


def test_nothing_found_and_nothing_to_find() -> None:
    missed, invented, empty = judged([[1]] * 4, [[-1]]), judged([[-1]], [[7]] * 4), judged([[-1]], [[-1]])
    assert (missed.hota, missed.mota, missed.idf1, missed.false_negatives, missed.mostly_lost) == (0, 0, 0, 4, 1)
    assert (invented.hota, invented.mota, invented.idf1, invented.false_positives) == (0, 0, 0, 4)
    assert (empty.hota, empty.mota, empty.idf1, empty.loca) == (0, 0, 0, 1)
    assert combine([missed, invented]).mota == -1.0
