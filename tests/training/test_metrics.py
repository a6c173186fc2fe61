"""Tests of the metrics of evaluation curves."""

import pytest
import torch

from training.metrics import compute_position_accuracy, spearman_correlation


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ([1, 2, 3, 4], [1, 2, 3, 9], 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        ([1, 1, 2, 2], [5, 5, 5, 5], None),
        ([1, 2, 2, 3], [1, 3, 2, 4], 0.948683298),
    ],
)
def test_spearman_correlation_of_small_samples(a, b, expected):
    assert spearman_correlation(torch.tensor(a), torch.tensor(b)) == (expected and pytest.approx(expected))


def test_single_positions_count_where_they_have_a_target():
    choices = torch.tensor([[1, 0, 2], [1, 1, 1]])
    targets = torch.tensor([[1, 0, 0], [1, 0, -100]])
    assert compute_position_accuracy(choices, targets) == pytest.approx(3 / 5)
    assert compute_position_accuracy(choices, torch.full((2, 3), -100)) == 0.0
