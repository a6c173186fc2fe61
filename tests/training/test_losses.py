"""Tests of the losses against their definitions."""

import pytest
import torch
from torch.nn import functional as F

from training.losses import is_correct, per_tick_loss, reduce_tick_losses, two_tick_loss


def sample_batch(batch=5, positions=3, classes=4, ticks=6):
    """Return random answers (B, P, C, T) and targets (B, P)."""
    generator = torch.Generator().manual_seed(0)
    answers = torch.randn(batch, positions, classes, ticks, generator=generator) * 2
    return answers, torch.randint(classes, (batch, positions), generator=generator)


def test_per_tick_loss_is_cross_entropy_averaged_over_positions():
    answers, targets = sample_batch()
    losses = per_tick_loss(answers, targets)
    for row in range(5):
        for tick in range(6):
            expected = F.cross_entropy(answers[row, :, :, tick], targets[row])
            assert losses[row, tick].item() == pytest.approx(expected.item(), rel=1e-5)


def test_ignored_positions_affect_neither_loss_nor_correctness():
    answers, targets = sample_batch()
    targets[:, 2] = -100
    torch.testing.assert_close(per_tick_loss(answers, targets), per_tick_loss(answers[:, :2], targets[:, :2]))
    correct = is_correct(answers, targets)
    assert torch.equal(correct, is_correct(answers[:, :2], targets[:, :2]))


def test_lookahead_includes_positions_after_the_longest_correct_prefix_of_any_tick():
    answers = torch.zeros(1, 4, 2, 2)
    answers[0, :, 1] = torch.tensor([[3.0, 3.0], [3.0, -3.0], [-3.0, -3.0], [3.0, 3.0]])
    targets = torch.ones(1, 4, dtype=torch.long)  # the correct prefix has 2 positions at tick 0, 1 at tick 1
    expected = per_tick_loss(answers[:, :3], targets[:, :3])
    torch.testing.assert_close(per_tick_loss(answers, targets, lookahead=1), expected)


def test_two_tick_loss_averages_the_ticks_of_lowest_loss_and_highest_certainty():
    losses = torch.tensor([[3.0, 1.0, 2.0], [0.5, 4.0, 1.0]])
    certainty = torch.tensor([[0.1, 0.2, 0.9], [0.3, 0.8, 0.1]])
    assert two_tick_loss(losses, certainty).item() == pytest.approx(((1 + 2) / 2 + (0.5 + 4) / 2) / 2)


def test_mix_interpolates_between_mean_and_two_tick_loss():
    losses, certainty = torch.rand(4, 5), torch.rand(4, 5)
    torch.testing.assert_close(reduce_tick_losses("mix", losses, certainty, 1.0), losses.mean())
    torch.testing.assert_close(reduce_tick_losses("mix", losses, certainty, 0.0), two_tick_loss(losses, certainty))
    torch.testing.assert_close(reduce_tick_losses("mean", losses, certainty, 0.3), losses.mean())


def test_two_tick_loss_equals_the_published_formula():
    """The published loss is the mean of the two selected cross-entropies."""
    answers, targets = sample_batch(batch=7, positions=1, classes=10)
    certainty = torch.rand(7, 6)
    losses = F.cross_entropy(answers[:, 0], targets.expand(-1, 6), reduction="none")
    rows = torch.arange(7)
    published = (losses[rows, losses.argmin(1)].mean() + losses[rows, certainty.argmax(-1)].mean()) / 2
    torch.testing.assert_close(two_tick_loss(per_tick_loss(answers, targets), certainty), published)
