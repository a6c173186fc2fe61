"""Tests of the metrics of evaluation curves."""

import pytest
import torch

from training.metrics import compute_ctc_position_accuracy, compute_position_accuracy, spearman_correlation


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


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([3, 0, 0, 3, 1, 2], 1.0),
        ([0, 1, 2, 0, 1, 2], 1.0),  # labels beyond the length of the answer do not count here
        ([0, 3, 3, 3, 3, 3], 1 / 3),
        ([3, 3, 3, 3, 3, 3], 0.0),
        ([1, 0, 2, 3, 3, 3], 1 / 3),
        ([0, 3, 0, 1, 2, 3], 1 / 3),  # a repeated label moves the later ones out of their places
    ],
)
def test_emitted_labels_count_at_their_place_in_the_sequence(labels, expected):
    """Class 3 is the blank, and equal labels at consecutive ticks are one emission."""
    assert compute_ctc_position_accuracy(torch.tensor([labels]), torch.tensor([[0, 1, 2]])) == pytest.approx(expected)
