"""Pairs against a double loop, and the assignment against ``lap`` and scipy, ties and emptiness included."""

import lap
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Matrix, iou
from naive_timed import iou as grown_iou
from scipy.optimize import linear_sum_assignment

from streamtrack.tracking import _association as association

# As plain Python, where they run for coverage only, the kernels are a hundred times slower.
EXAMPLES = 100 if numba.config.DISABLE_JIT else 1000


class Workspace:
    """The scratch arrays, for ``capacity`` boxes on each side and ``pairs`` pairs."""

    def __init__(self, capacity: int, pairs: int = 1) -> None:
        self.tables = np.full((association.TABLES, association.TABLE_ROWS, capacity), np.nan)
        self.links = np.full((association.LINK_ROWS, capacity + 2), -99, np.int64)
        self.pair_right = np.full(pairs, -99, np.int64)
        self.pair_cost = np.full(pairs, np.nan)

    def put(self, side: int, boxes: Matrix, kinds: Matrix, scores: Matrix | None = None, margin: float = 0.5) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            heights = np.nan_to_num(np.log(boxes[:, 3] - boxes[:, 1]))
        for i, box in enumerate(boxes):
            self.tables[side, association.X0 : association.Y1 + 1, i] = box
            self.tables[side, association.MARGIN, i] = margin
            self.tables[side, association.LOG_HEIGHT, i] = heights[i]
            self.tables[side, association.CLASS, i] = kinds[i]
            self.tables[side, association.SCORE, i] = 1.0 if scores is None else scores[i]

    def pairs(
        self,
        n_left: int,
        n_right: int,
        limit: float,
        fuse: bool,
        any_class: bool = False,
        height_cost: float = 0.0,
    ) -> dict[tuple[int, int], float]:
        """Run ``find_pairs`` and return what it lists."""
        self.pair_right, self.pair_cost = association.find_pairs(
            self.tables,
            self.links,
            n_left,
            n_right,
            limit,
            fuse,
            any_class,
            height_cost,
            self.pair_right,
            self.pair_cost,
        )
        starts = self.links[association.ROW_START]
        return {
            (i, int(self.pair_right[e])): float(self.pair_cost[e])
            for i in range(n_left)
            for e in range(starts[i], starts[i + 1])
        }


def random_boxes(rng: np.random.Generator, n: int, width: float, size: float) -> Matrix:
    corner = rng.uniform(0, width, (n, 2))
    return np.hstack([corner, corner + rng.uniform(0, size, (n, 2))])


@settings(max_examples=EXAMPLES // 4)
@given(
    seed=st.integers(0, 2**32),
    n_left=st.integers(0, 30),
    n_right=st.integers(1, 40) | st.sampled_from([65, 150]),
    width=st.sampled_from([3.0, 200.0, 2000.0]),
    growth=st.sampled_from([0.0, 5.0, 300.0]),
    any_class=st.booleans(),
)
def test_kernels_list_the_pairs_of_grown_boxes(
    seed: int, n_left: int, n_right: int, width: float, growth: float, any_class: bool
) -> None:
    rng = np.random.default_rng(seed)
    left, right = random_boxes(rng, n_left, width, 50), random_boxes(rng, n_right, width, 50)
    left[:, 2:] += 1
    right[:, 2:] += 1
    margins, kinds = rng.uniform(0, growth, n_left), (rng.integers(0, 2, n_left), rng.integers(0, 2, n_right))
    space = Workspace(max(n_left, n_right))
    space.put(association.LEFT_BOXES, left, kinds[0])
    space.tables[association.LEFT_BOXES, association.MARGIN, :n_left] = margins
    space.put(association.RIGHT_BOXES, right, kinds[1])
    found = space.pairs(n_left, n_right, 0.9, False, any_class, 0.05)
    expected = {}
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            cost = 1 - grown_iou(a, b, margins[i]) + 0.05 * abs(np.log((a[3] - a[1]) / (b[3] - b[1])))
            if (any_class or kinds[0][i] == kinds[1][j]) and cost <= 0.9:
                expected[i, j] = cost
    assert found.keys() == expected.keys()
    assert all(abs(found[pair] - expected[pair]) < 1e-9 for pair in expected)


def expected_pairs(
    left: Matrix, right: Matrix, kinds: tuple[Matrix, Matrix], scores: Matrix, limit: float, fuse: bool
) -> dict[tuple[int, int], float]:
    found = {}
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            cost = 1 - iou(a, b)
            if fuse:
                cost = 1 - (1 - cost) * scores[j]
            if iou(a, b) > 0 and kinds[0][i] == kinds[1][j] and cost <= limit:
                found[i, j] = cost
    return found


@settings(max_examples=EXAMPLES // 4)
@given(
    seed=st.integers(0, 2**32),
    n_left=st.integers(0, 40),
    n_right=st.integers(1, 40) | st.sampled_from([64, 65, 150]),
    width=st.sampled_from([0.0, 1e-3, 3.0, 200.0, 2000.0, 1e30]),
    size=st.sampled_from([0.0, 1.0, 50.0, 3000.0]),
    classes=st.integers(1, 3),
    limit=st.sampled_from([0.15, 0.5, 0.9, 1.0]),
    fuse=st.booleans(),
)
def test_kernels_list_the_pairs_of_the_double_loop(
    seed: int, n_left: int, n_right: int, width: float, size: float, classes: int, limit: float, fuse: bool
) -> None:
    rng = np.random.default_rng(seed)
    left, right = random_boxes(rng, n_left, width, size), random_boxes(rng, n_right, width, size)
    kinds = rng.integers(0, classes, n_left), rng.integers(0, classes, n_right)
    scores = rng.uniform(0, 1, n_right)
    space = Workspace(max(n_left, n_right))
    space.put(association.LEFT_BOXES, left, kinds[0])
    space.put(association.RIGHT_BOXES, right, kinds[1], scores)
    found = space.pairs(n_left, n_right, limit, fuse)
    expected = expected_pairs(left, right, kinds, scores, limit, fuse)
    assert found.keys() == expected.keys()
    assert all(abs(found[pair] - expected[pair]) < 1e-12 for pair in expected)


@pytest.mark.parametrize("n_right", [1, 100])
def test_kernels_list_no_pairs_for_boxes_that_are_none(n_right: int) -> None:
    # What a filter could predict after nonsense: not a number, infinite, inside out.
    nonsense = np.array(
        [[np.nan] * 4, [-np.inf, -np.inf, np.inf, np.inf], [np.inf] * 4, [60, 60, 40, 40], [0, np.nan, 9, 9]]
    )
    space = Workspace(n_right + 5)
    kinds = np.zeros(n_right + 5)
    with np.errstate(invalid="ignore"):
        space.put(association.LEFT_BOXES, nonsense, kinds)
        space.put(association.RIGHT_BOXES, random_boxes(np.random.default_rng(1), n_right, 100, 50), kinds)
        found = space.pairs(len(nonsense), n_right, 0.99, True)
    assert all(np.isfinite(cost) for cost in found.values())
    assert {i for i, _ in found} <= {3}


def solve(cost: Matrix, limit: float) -> list[int]:
    """Run ``assign`` on the entries of a dense matrix up to the limit."""
    n_left, n_right = cost.shape
    space = Workspace(max(n_left, n_right))
    rows, columns = np.nonzero(cost <= limit)
    space.links[association.ROW_START, : n_left + 1] = np.searchsorted(rows, np.arange(n_left + 1))
    association.assign(
        space.tables, space.links, n_left, n_right, limit, columns.astype(np.int64), cost[rows, columns].astype(float)
    )
    to_right = space.links[association.TO_RIGHT, :n_left]
    to_left = space.links[association.TO_LEFT, :n_right]
    assert all(to_left[j] == i for i, j in enumerate(to_right) if j >= 0)
    assert all(to_right[i] == j for j, i in enumerate(to_left) if i >= 0)
    return to_right.tolist()


def price(cost: Matrix, to_right: list[int], limit: float) -> float:
    return sum(cost[i, j] - limit for i, j in enumerate(to_right) if j >= 0)


def by_lap(cost: Matrix, limit: float) -> list[int]:
    return [int(j) for j in lap.lapjv(cost, extend_cost=True, cost_limit=limit)[1]]


def lowest_price(cost: Matrix, limit: float) -> float:
    gain = np.minimum(cost - limit, 0)
    return float(gain[linear_sum_assignment(gain)].sum())


shapes = st.tuples(st.integers(1, 30), st.integers(1, 30))
seeds = st.integers(0, 2**32)
limits = st.floats(0.01, 0.99)


@settings(max_examples=EXAMPLES)
@given(seeds, shapes, limits, st.floats(0, 1))
def test_kernels_assign_as_lap_does(seed: int, shape: tuple[int, int], limit: float, density: float) -> None:
    rng = np.random.default_rng(seed)
    cost = np.where(rng.random(shape) < density, rng.random(shape), 1.0)
    found = solve(cost, limit)
    assert found == by_lap(cost, limit)
    assert price(cost, found, limit) == pytest.approx(lowest_price(cost, limit), abs=1e-9)


@settings(max_examples=EXAMPLES)
@given(seeds, shapes, st.sampled_from([0.25, 0.3, 0.5, 0.9, 1.0]), st.sampled_from(["few values", "rows", "columns"]))
def test_kernels_assign_at_the_lowest_price_where_there_are_ties(
    seed: int, shape: tuple[int, int], limit: float, ties: str
) -> None:
    rng = np.random.default_rng(seed)
    cost = rng.random(shape)
    if ties == "few values":
        cost = rng.integers(0, 5, shape) / 4
    elif ties == "rows":
        cost = cost[rng.integers(0, shape[0], shape[0])]
    else:
        cost = cost[:, rng.integers(0, shape[1], shape[1])].copy()
    found = solve(cost, limit)
    assert price(cost, found, limit) == pytest.approx(lowest_price(cost, limit), abs=1e-9)
    assert price(cost, found, limit) == pytest.approx(price(cost, by_lap(cost, limit), limit), abs=1e-9)
    assert found == solve(cost, limit)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5), (1, 30), (30, 1)])
@pytest.mark.parametrize(("value", "matched"), [(0.0, True), (1.0, False)])
def test_kernels_assign_where_all_costs_are_the_same(shape: tuple[int, int], value: float, matched: bool) -> None:
    found = solve(np.full(shape, value), 0.9)
    assert len({j for j in found if j >= 0}) == (min(shape) if matched else 0)


def test_kernels_accept_a_cost_that_is_just_the_limit() -> None:
    cost = np.array([[1.0, 0.5], [0.2, 1.0]])
    assert solve(cost, 0.5) == by_lap(cost, 0.5) == [1, 0]


def test_kernels_assign_a_dense_crowd() -> None:
    n = 12 if numba.config.DISABLE_JIT else 300
    cost = np.random.default_rng(5).random((n, n)) * 0.5
    assert solve(cost, 0.9) == by_lap(cost, 0.9)
