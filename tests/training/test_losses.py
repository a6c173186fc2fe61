"""Tests of the losses against their definitions."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from training.losses import (
    TickReduction,
    compute_answer_loss,
    is_correct,
    paced_loss,
    per_tick_loss,
    reduce_tick_losses,
    two_tick_loss,
)
from training.pace import Pace


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


def test_paced_loss_counts_every_position_from_its_due_tick_on():
    answers, targets = sample_batch(ticks=9)
    targets[0, 1] = -100
    pace = Pace(delay=2)  # positions are due at ticks 2, 4 and 6
    losses = [
        F.cross_entropy(answers[row, position, :, tick], targets[row, position])
        for row in range(5)
        for position, due in enumerate((2, 4, 6))
        for tick in range(due, 9)
        if targets[row, position] != -100
    ]
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(paced_loss(answers, targets, pace), expected)
    reduction = TickReduction("paced", pace=pace)
    torch.testing.assert_close(compute_answer_loss(reduction, answers, targets, torch.rand(5, 9)), expected)


def test_paced_loss_stops_a_few_positions_after_those_that_are_correct_when_due():
    answers = torch.zeros(1, 4, 2, 8)
    targets = torch.ones(1, 4, dtype=torch.long)
    pace = Pace(delay=0, ticks_per_position=2.0)  # due at ticks 0, 2, 4, 6
    answers[0, 0, 1] = 3.0
    answers[0, 1, 1, 3:] = 3.0  # correct one tick late
    answers[0, 2:, 1] = 3.0
    first, second, third = F.cross_entropy(
        answers[0, :3].transpose(1, 2).flatten(0, 1), targets.new_ones(24), reduction="none"
    ).view(3, 8)
    torch.testing.assert_close(paced_loss(answers, targets, pace, 1), torch.cat((first, second[2:])).mean())
    torch.testing.assert_close(paced_loss(answers, targets, pace, 2), torch.cat((first, second[2:], third[4:])).mean())


def test_paced_loss_skips_ticks_at_which_no_answer_counts():
    answers, targets = sample_batch(ticks=9)
    answer_mask = torch.arange(9) >= torch.tensor([0, 3, 5, 7, 8])[:, None]
    changed = answers.clone()
    changed[~answer_mask[:, None, None].expand_as(answers)] = 50.0
    losses = [paced_loss(values, targets, Pace(delay=1), None, answer_mask) for values in (answers, changed)]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("lookahead", [None, 1])
def test_paced_loss_counts_padding_from_the_tick_at_which_the_first_of_it_is_due(lookahead):
    answers, targets = sample_batch(batch=4, positions=4, ticks=10)
    pace = Pace(delay=1, ticks_per_position=2.0)  # due at ticks 1, 3, 5, 7
    lengths = torch.tensor([1, 2, 3, 4])
    due = [[1, 3, 3, 3], [1, 3, 5, 5], [1, 3, 5, 7], [1, 3, 5, 7]]
    losses = []
    for row, position in itertools.product(range(4), range(4)):
        before = [answers[row, p, :, due[row][p]].argmax() == targets[row, p] for p in range(position)]
        if lookahead is None or position == 0 or all(before):
            logits = answers[row, position, :, due[row][position] :].T
            losses.append(F.cross_entropy(logits, targets[row, position].expand(len(logits)), reduction="none"))
    expected = torch.cat(losses).mean()
    torch.testing.assert_close(paced_loss(answers, targets, pace, lookahead, lengths=lengths), expected)
