"""Tests of the decoders: correctness, loss and completeness of CTC emissions, and per-tick answers."""

import itertools
import math

import pytest
import torch

from inference.halting.policies import LabelsEmitted
from inference.halting.thresholds import replay
from inference.tick_history import TickHistory
from training.data.maze import MOVES, WAIT
from training.decoding import CTCDecoder, PerTickDecoder
from training.losses import TickReduction
from training.tasks import make_task
from training.tasks.splits import TEST, make_generator


def collapse_ctc(labels: list[int], blank: int) -> list[int]:
    """Merge repeated labels and remove blanks."""
    return [label for label, _ in itertools.groupby(labels) if label != blank]


def make_logits(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Return logits (B, K, T) whose largest entries are the labels (B, T)."""
    return torch.nn.functional.one_hot(labels, classes).float().transpose(1, 2)


def test_ctc_emission_is_correct_if_it_is_complete_and_in_order():
    labels = torch.randint(4, (300, 7), generator=make_generator("said"))
    targets = torch.tensor([[0, 1, 2], [2, 0, 1], [1, 0, 2]]).repeat(100, 1)
    correct = CTCDecoder(3).is_correct(make_logits(labels, 4), targets)
    assert correct.any() and not correct.all()
    for row, target, row_correct in zip(labels.tolist(), targets.tolist(), correct.tolist(), strict=True):
        assert row_correct == [collapse_ctc(row[: tick + 1], 3) == target for tick in range(7)]
    answers = CTCDecoder(3).decode(labels[0].unsqueeze(1))
    assert answers == [collapse_ctc(labels[0, : tick + 1].tolist(), 3) for tick in range(7)]


def test_ctc_loss_is_the_negative_log_probability_of_all_alignments():
    logits = torch.randn(1, 3, 4, generator=make_generator("cost"))
    target = torch.tensor([[1, 0]])
    probabilities = logits.softmax(1)[0]
    alignments = [labels for labels in itertools.product(range(3), repeat=4) if collapse_ctc(list(labels), 2) == [1, 0]]
    probability = sum(
        math.prod(probabilities[label, tick].item() for tick, label in enumerate(labels)) for labels in alignments
    )
    loss = CTCDecoder(2).loss(logits, target, torch.zeros(1, 4), TickReduction())
    # PyTorch divides the loss by the length of the target.
    assert loss.item() == pytest.approx(-math.log(probability) / 2, rel=1e-5)


def test_unroll_halts_when_all_labels_are_emitted():
    labels = torch.tensor([[3, 0, 0, 2, 3, 1, 3], [0, 3, 0, 3, 1, 1, 1], [3, 3, 3, 3, 3, 3, 3]])
    history = TickHistory(torch.ones(3, 7, 1), labels.unsqueeze(2), None)
    policy_replay = replay(LabelsEmitted(3), history, torch.ones(3, 7, dtype=torch.bool))
    assert policy_replay.ticks.tolist() == [6, 5, 7]  # a label counts again after a blank
    assert policy_replay.halted_by == ["said=3", "said=3", "budget"]


def test_per_tick_decoder_returns_the_choices_unchanged():
    choices = torch.randint(5, (6, 3))
    assert PerTickDecoder(3).decode(choices) == choices.tolist()


def test_solved_maze_metric_implies_that_the_moves_reach_the_goal():
    task = make_task({"kind": "mazes", "side": 7, "route": 10})
    generator = make_generator("walk")
    (samples,) = task.generate_mazes(TEST, 60, [generator])
    targets = task._build_batch([maze for maze, _ in samples], [route for _, route in samples]).targets
    any_moves = torch.randint(len(MOVES), targets.shape, generator=generator)
    chosen = torch.where(torch.rand(targets.shape, generator=generator) < 0.95, targets, any_moves)
    chosen[::3] = torch.where(targets[::3] == WAIT, any_moves[::3], targets[::3])
    reached = [maze.walk(row)[0][-1] == maze.goal for (maze, _), row in zip(samples, chosen.tolist(), strict=True)]
    solved = [
        task.compute_extra_metrics(row[None], target[None])["solved"]
        for row, target in zip(chosen, targets, strict=True)
    ]
    assert 20 <= sum(reached) < 60
    # A step into a wall ends a walk and a wait does not; neither is a correct step.
    assert all(not is_solved or is_reached for is_solved, is_reached in zip(solved, reached, strict=True))
    assert sum(is_reached and not is_solved for is_solved, is_reached in zip(solved, reached, strict=True)) <= 6
