"""Tests of where a maze model looks, and of the table."""

import torch

from benchmarks.maze_attention import compute_route_weights, count_correct_moves, render_table
from ctm.models.outputs import UnrolledOutput
from training.auxiliary_losses import AuxiliaryTargets
from training.losses import IGNORE_INDEX


def test_weights_of_the_route_are_those_of_the_best_head_at_the_cells():
    attention = torch.rand(2, 3, 9, 4, generator=torch.Generator().manual_seed(0))  # 3 x 3 features, 6 x 6 pixels
    places = torch.tensor([[0, 0, 14, 14], [35, 35, IGNORE_INDEX, IGNORE_INDEX]])  # two moves for each cell
    targets = AuxiliaryTargets(torch.zeros_like(places), places, (6, 6))
    weights = compute_route_weights(attention, targets)
    assert torch.equal(weights[0], torch.stack([attention[0, :, 0].amax(0), attention[0, :, 4].amax(0)]))
    assert torch.equal(weights[1, 0], attention[1, :, 8].amax(0)) and not weights[1, 1].any()


def test_moves_are_counted_up_to_the_first_wrong_one():
    targets = torch.tensor([[1, 2, 3, 1]])
    answers = torch.nn.functional.one_hot(torch.tensor([[1, 2, 0, 1], [1, 2, 3, 1]]), 5).float()
    output = UnrolledOutput(answers.flatten(1).T.unsqueeze(0), torch.zeros(1, 2, 2), None)
    assert count_correct_moves(output, targets).tolist() == [[2, 4]]


def test_a_tick_that_a_model_does_not_have_is_a_dash():
    models = [
        {"name": "long", "n": 3, "cell": [0.0] * 10, "weight": [0.5] * 10, "correct_moves": [1.0] * 10},
        {"name": "short", "n": 3, "cell": [2.0] * 5, "weight": [0.25] * 5, "correct_moves": [4.0] * 5},
    ]
    table = render_table({"models": models, "command": "c", "date": "d"})
    assert "| 5 | 0.0 (50%) / 1.0 | 2.0 (25%) / 4.0 |" in table and "| 10 | 0.0 (50%) / 1.0 | - |" in table
    assert "| 15 |" not in table
