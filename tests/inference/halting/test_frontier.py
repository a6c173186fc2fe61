"""Tests of frontiers against values computed by hand and replays of every level."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.halting.frontier import (
    Frontier,
    OperatingPoints,
    compute_fixed_tick_points,
    compute_frontiers,
    compute_oracle_points,
    compute_policy_points,
    compute_score_points,
    compute_shuffled_baseline,
)
from inference.halting.policies import CertaintyAbove, EnergyBelow
from inference.halting.policy_parser import parse
from inference.halting.thresholds import replay
from inference.tick_history import TickHistory

CORRECT = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()


def make_samples(count: int, ticks: int, energy: bool = True) -> tuple[TickHistory, torch.Tensor]:
    """Sample a random history, and random labels of correct answers."""
    generator = torch.Generator().manual_seed(count)
    certainty = torch.rand(count, ticks, 1, generator=generator)
    history = TickHistory(certainty, None, torch.randn(count, ticks, generator=generator) if energy else None)
    return history, torch.rand(count, ticks, generator=generator) < 0.6


def interpolate_accuracy(frontier: Frontier, budget: float) -> float:
    """Return the highest accuracy for a budget of mean ticks; 0 below the first corner."""
    if budget < frontier.points[0][0]:
        return 0.0
    for (x, y), (next_x, next_y) in pairwise(frontier.points):
        if budget <= next_x:
            return next_y if next_x == x else y + (next_y - y) * (budget - x) / (next_x - x)
    return frontier.points[-1][1]


def test_a_frontier_is_the_non_decreasing_upper_hull():
    frontier = Frontier.from_points([1.0, 2.0, 3.0, 4.0, 5.0], [0.2, 0.3, 0.8, 0.7, 0.9], 6)
    assert frontier.points == ((1, 0.2), (3, 0.8), (5, 0.9), (6.0, 0.9))
    assert frontier.area == pytest.approx((2 * 0.5 + 2 * 0.85 + 0.9) / 5)
    assert [interpolate_accuracy(frontier, b) for b in (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0)] == pytest.approx(
        [0, 0.2, 0.5, 0.8, 0.85, 0.9, 0.9]
    )
    assert [frontier.find_min_ticks(a) for a in (0.1, 0.2, 0.5, 0.8, 0.85)] == pytest.approx([1, 1, 2, 3, 4])
    assert frontier.find_min_ticks(0.95) is None


@given(st.lists(st.tuples(st.floats(1, 9), st.floats(0, 1)), min_size=1, max_size=30))
@settings(max_examples=100)
def test_no_point_is_above_the_frontier_and_every_corner_is_a_point(points):
    frontier = Frontier.from_points(*zip(*points, strict=True), budget=10)
    assert all(interpolate_accuracy(frontier, x) >= y - 1e-9 for x, y in points)
    assert set(frontier.points[:-1]) <= set(points)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(frontier.points) if b[0] > a[0]]
    assert all(later <= slope * (1 + 1e-9) for slope, later in pairwise(slopes))


@pytest.mark.parametrize(("make_policy", "energy"), [(CertaintyAbove, False), (EnergyBelow, True)])
def test_every_level_has_the_result_of_its_policy(make_policy, energy):
    history, correct = make_samples(60, 7, energy)
    points = compute_policy_points(make_policy, history, correct)
    assert points.ticks[0].eq(1).all() and points.ticks[-1].eq(7).all(), "from the fewest to the most ticks"
    scores = make_policy(0.0).score(history)
    replays = [
        replay(make_policy(make_policy(0.0).sign * level), history, correct) for level in scores.flatten().tolist()
    ]
    for row in (1, len(points.ticks) // 2, len(points.ticks) - 2):
        equal_replays = [policy_replay for policy_replay in replays if policy_replay.ticks.equal(points.ticks[row])]
        assert equal_replays and equal_replays[0].correct.equal(points.correct[row])


def test_fixed_ticks_and_the_oracle_by_hand():
    fixed = compute_fixed_tick_points(CORRECT)
    assert fixed.accuracy.tolist() == [0.25, 0.5, 0.25, 0.5] and fixed.mean_ticks.tolist() == [1, 2, 3, 4]
    oracle = compute_oracle_points(CORRECT)
    assert oracle.accuracy.tolist() == [0.25, 0.5, 0.5, 0.75]
    assert oracle.mean_ticks.tolist() == [1, 1.25, 1.25, 2]


def test_no_row_answers_before_its_input_ticks_are_over():
    input_ticks = torch.tensor([0, 3, 1, 2])
    correct = CORRECT & (torch.arange(4) >= input_ticks.unsqueeze(1))
    fixed = compute_fixed_tick_points(correct, input_ticks)
    assert fixed.ticks.tolist() == [[1, 4, 2, 3], [2, 4, 2, 3], [3, 4, 3, 3], [4, 4, 4, 4]]
    assert fixed.accuracy.tolist() == [0.5, 0.75, 0.5, 0.5]
    oracle = compute_oracle_points(correct, input_ticks)
    assert oracle.ticks.tolist() == [[1, 4, 2, 3], [2, 4, 2, 3], [2, 4, 2, 3], [2, 4, 2, 3]]
    assert oracle.accuracy.tolist() == [0.5, 0.75, 0.75, 0.75]
    history = TickHistory(torch.rand(4, 4, 1), None, torch.randn(4, 4), input_ticks=input_ticks)
    frontiers = compute_frontiers(history, correct)
    assert {corners[0][0] for corners in frontiers.values()} == {2.5}, "all frontiers start at the first answer ticks"


def test_no_policy_is_better_than_the_oracle():
    for count in (5, 30, 80):
        history, correct = make_samples(count, 9)
        oracle_frontier = compute_oracle_points(correct).build_frontier(9)
        points = compute_policy_points(EnergyBelow, history, correct)
        for mean_ticks, accuracy in zip(points.mean_ticks.tolist(), points.accuracy.tolist(), strict=True):
            assert accuracy <= interpolate_accuracy(oracle_frontier, mean_ticks) + 1e-9


def test_the_shuffled_ticks_baseline_is_the_mean_over_all_assignments():
    points = OperatingPoints(torch.tensor([[1, 1, 4, 2]]), torch.tensor([[False, False, False, False]]))
    accuracies = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(4_000):
        shuffled_ticks = points.ticks[0][torch.randperm(4, generator=generator)]
        accuracies.append(CORRECT.gather(1, shuffled_ticks[:, None] - 1).float().mean())
    last_tick = torch.full((4,), 4)
    baseline = compute_shuffled_baseline(points, last_tick, CORRECT)
    assert baseline.accuracy.item() == pytest.approx(torch.stack(accuracies).mean().item(), abs=0.01)


def test_a_sample_assigned_all_ticks_answers_as_under_the_policy():
    all_ticks = OperatingPoints(torch.full((1, 4), 4), torch.ones(1, 4, dtype=torch.bool))
    baseline = compute_shuffled_baseline(all_ticks, torch.tensor([2, 4, 1, 1]), CORRECT)
    assert baseline.accuracy.item() == 0.75, "not 0.5, as at the last tick"


def test_ticks_without_an_allowed_answer_give_no_threshold():
    score = torch.tensor([[-torch.inf, 0.3, 0.5], [-torch.inf, -torch.inf, 0.4]])
    points = compute_score_points(score, torch.tensor([2, 3]), torch.ones(2, 3).bool())
    assert points.ticks.tolist() == [[2, 3], [3, 3], [3, 3], [3, 3]]


def test_the_displayed_points_equal_replays_of_their_thresholds():
    history, correct = make_samples(300, 6)
    frontiers = compute_frontiers(history, correct)
    assert frontiers.keys() == {"fixed", "oracle", "energy", "certainty"}, "with one position the minimum is the mean"
    for form in ("energy<", "certainty>", "ticks="):
        for mean_ticks, accuracy, threshold in frontiers["fixed" if form == "ticks=" else form[:-1]]:
            policy_replay = replay(parse(f"{form}{threshold:.10g}"), history, correct)
            assert (policy_replay.mean_ticks, policy_replay.accuracy) == pytest.approx((mean_ticks, accuracy), abs=0.02)
    assert compute_frontiers(history, correct, ctc_length=3).keys() == {"fixed", "oracle"}
    assert "energy" not in compute_frontiers(replace(history, energy=None), correct)
