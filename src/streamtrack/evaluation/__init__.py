"""How good tracks are against ground truth: HOTA, CLEAR and identity scores, equal to TrackEval's.

``score(pair(truth, tracks))`` gives the scores of one sequence, ``combine`` those of several taken together.
"""

from streamtrack.evaluation.boxes import BENCHMARKS, Tracks, Truth, read_tracks, read_truth
from streamtrack.evaluation.pairing import Sequence, pair
from streamtrack.evaluation.scores import ALPHAS, Scores, combine, score

__all__ = [
    "ALPHAS",
    "BENCHMARKS",
    "Scores",
    "Sequence",
    "Tracks",
    "Truth",
    "combine",
    "pair",
    "read_tracks",
    "read_truth",
    "score",
]
