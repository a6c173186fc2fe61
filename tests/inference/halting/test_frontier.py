"""Frontiers against values computed by hand and by replaying every level."""

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


def test_a_frontier_is_the_upper_hull_and_never_falls():
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
def test_no_level_lies_above_the_frontier_and_every_corner_is_a_level(points):
    frontier = Frontier.from_points(*zip(*points, strict=True), budget=10)
    assert all(interpolate_accuracy(frontier, x) >= y - 1e-9 for x, y in points)
    assert set(frontier.points[:-1]) <= set(points)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(frontier.points) if b[0] > a[0]]
    assert all(later <= slope * (1 + 1e-9) for slope, later in pairwise(slopes))


@pytest.mark.parametrize(("make", "energy"), [(CertaintyAbove, False), (EnergyBelow, True)])
def test_every_level_does_what_its_policy_does(make, energy):
    history, right = make_samples(60, 7, energy)
    family = compute_policy_points(make, history, right)
    assert family.ticks[0].eq(1).all() and family.ticks[-1].eq(7).all(), "from the boldest to the safest"
    scores = make(0.0).score(history)
    for row in (1, len(family.ticks) // 2, len(family.ticks) - 2):
        matching = [
            played
            for level in scores.flatten().tolist()
            if (played := replay(make(make(0.0).sign * level), history, right)).ticks.equal(family.ticks[row])
        ]
        assert matching and matching[0].correct.equal(family.correct[row])


def test_fixed_ticks_and_the_oracle_by_hand():
    assert compute_fixed_tick_points(CORRECT).accuracy.tolist() == [0.25, 0.5, 0.25, 0.5] and compute_fixed_tick_points(
        CORRECT
    ).mean_ticks.tolist() == [1, 2, 3, 4]
    known = compute_oracle_points(CORRECT)
    assert known.accuracy.tolist() == [0.25, 0.5, 0.5, 0.75]
    assert known.mean_ticks.tolist() == [1, 1.25, 1.25, 2]


def test_no_row_answers_before_its_input_ticks_are_over():
    listening = torch.tensor([0, 3, 1, 2])
    heard = CORRECT & (torch.arange(4) >= listening.unsqueeze(1))
    same = compute_fixed_tick_points(heard, listening)
    assert same.ticks.tolist() == [[1, 4, 2, 3], [2, 4, 2, 3], [3, 4, 3, 3], [4, 4, 4, 4]]
    assert same.accuracy.tolist() == [0.5, 0.75, 0.5, 0.5]
    known = compute_oracle_points(heard, listening)
    assert known.ticks.tolist() == [[1, 4, 2, 3], [2, 4, 2, 3], [2, 4, 2, 3], [2, 4, 2, 3]]
    assert known.accuracy.tolist() == [0.5, 0.75, 0.75, 0.75]
    history = TickHistory(torch.rand(4, 4, 1), None, torch.randn(4, 4), input_ticks=listening)
    shown = compute_frontiers(history, heard)
    assert {corners[0][0] for corners in shown.values()} == {2.5}, "all rules begin where one may answer"


def test_nothing_beats_the_oracle():
    for count in (5, 30, 80):
        history, right = make_samples(count, 9)
        best, found = compute_oracle_points(right).build_frontier(9), compute_policy_points(EnergyBelow, history, right)
        for x, y in zip(found.mean_ticks.tolist(), found.accuracy.tolist(), strict=True):
            assert y <= interpolate_accuracy(best, x) + 1e-9


def test_the_shuffled_ticks_baseline_is_the_mean_over_all_assignments():
    family = OperatingPoints(torch.tensor([[1, 1, 4, 2]]), torch.tensor([[False, False, False, False]]))
    means = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(4_000):
        dealt = family.ticks[0][torch.randperm(4, generator=generator)]
        means.append(CORRECT.gather(1, dealt[:, None] - 1).float().mean())
    last = torch.full((4,), 4)
    assert compute_shuffled_baseline(family, last, CORRECT).accuracy.item() == pytest.approx(
        torch.stack(means).mean().item(), abs=0.01
    )


def test_a_sample_assigned_all_ticks_answers_as_under_the_policy():
    never = OperatingPoints(torch.full((1, 4), 4), torch.ones(1, 4, dtype=torch.bool))
    assert compute_shuffled_baseline(never, torch.tensor([2, 4, 1, 1]), CORRECT).accuracy.item() == 0.75, (
        "not 0.5, as at the last tick"
    )


def test_ticks_without_an_allowed_answer_are_no_threshold():
    score = torch.tensor([[-torch.inf, 0.3, 0.5], [-torch.inf, -torch.inf, 0.4]])
    family = compute_score_points(score, torch.tensor([2, 3]), torch.ones(2, 3).bool())
    assert family.ticks.tolist() == [[2, 3], [3, 3], [3, 3], [3, 3]]


def test_the_displayed_points_are_what_each_threshold_does():
    history, right = make_samples(300, 6)
    found = compute_frontiers(history, right)
    assert found.keys() == {"fixed", "oracle", "energy", "certainty"}, "one position: the least certain is the mean"
    for form in ("energy<", "certainty>", "ticks="):
        for ticks, accuracy, threshold in found["fixed" if form == "ticks=" else form[:-1]]:
            played = replay(parse(f"{form}{threshold:.10g}"), history, right)
            assert (played.mean_ticks, played.accuracy) == pytest.approx((ticks, accuracy), abs=0.02)
    assert compute_frontiers(history, right, ctc_length=3).keys() == {"fixed", "oracle"}
    assert "energy" not in compute_frontiers(replace(history, energy=None), right)
