"""Tests of the metrics of evaluation curves."""

import pytest
import torch

from training.metrics import spearman_correlation


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
