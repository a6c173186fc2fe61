"""Losses against their definitions, written out."""

import pytest
import torch
from torch.nn import functional as F

from training.losses import is_correct, per_tick_loss, reduce_tick_losses, two_tick_loss


def sample_batch(batch=5, positions=3, classes=4, ticks=6):
    generator = torch.Generator().manual_seed(0)
    answers = torch.randn(batch, positions, classes, ticks, generator=generator) * 2
    return answers, torch.randint(classes, (batch, positions), generator=generator)


def test_per_tick_is_cross_entropy_averaged_over_positions():
    answers, targets = sample_batch()
    losses = per_tick_loss(answers, targets)
    for row in range(5):
        for tick in range(6):
            expected = F.cross_entropy(answers[row, :, :, tick], targets[row])
            assert losses[row, tick].item() == pytest.approx(expected.item(), rel=1e-5)


def test_positions_marked_as_ignored_do_not_count():
    answers, targets = sample_batch()
    targets[:, 2] = -100
    torch.testing.assert_close(per_tick_loss(answers, targets), per_tick_loss(answers[:, :2], targets[:, :2]))
    right = is_correct(answers, targets)
    assert torch.equal(right, is_correct(answers[:, :2], targets[:, :2]))


def test_lookahead_counts_positions_past_the_longest_right_beginning_of_any_tick():
    answers = torch.zeros(1, 4, 2, 2)
    answers[0, :, 1] = torch.tensor([[3.0, 3.0], [3.0, -3.0], [-3.0, -3.0], [3.0, 3.0]])
    targets = torch.ones(1, 4, dtype=torch.long)  # tick 0 gets 2 right from the beginning, tick 1 gets 1
    expected = per_tick_loss(answers[:, :3], targets[:, :3])
    torch.testing.assert_close(per_tick_loss(answers, targets, lookahead=1), expected)


def test_two_ticks_are_the_least_loss_and_the_most_certain():
    losses = torch.tensor([[3.0, 1.0, 2.0], [0.5, 4.0, 1.0]])
    certainty = torch.tensor([[0.1, 0.2, 0.9], [0.3, 0.8, 0.1]])
    assert two_tick_loss(losses, certainty).item() == pytest.approx(((1 + 2) / 2 + (0.5 + 4) / 2) / 2)


def test_mix_goes_from_its_share_of_the_mean_to_two_ticks():
    losses, certainty = torch.rand(4, 5), torch.rand(4, 5)
    torch.testing.assert_close(reduce_tick_losses("mix", losses, certainty, 1.0), losses.mean())
    torch.testing.assert_close(reduce_tick_losses("mix", losses, certainty, 0.0), two_tick_loss(losses, certainty))
    torch.testing.assert_close(reduce_tick_losses("mean", losses, certainty, 0.3), losses.mean())


def test_two_tick_loss_equals_the_published_formula():
    """Mean of the two selected cross-entropies, for one choice and for structured answers (mean over positions)."""
    answers, targets = sample_batch(batch=7, positions=1, classes=10)
    certainty = torch.rand(7, 6)
    losses = F.cross_entropy(answers[:, 0], targets.expand(-1, 6), reduction="none")
    rows = torch.arange(7)
    published = (losses[rows, losses.argmin(1)].mean() + losses[rows, certainty.argmax(-1)].mean()) / 2
    torch.testing.assert_close(two_tick_loss(per_tick_loss(answers, targets), certainty), published)
