"""Tests of the learning rate and of the optimiser."""

import itertools
import math

import pytest
import torch

from ctm import build_model
from tests.training.test_trainer import make_tiny_config
from training.config import OptimConfig
from training.optimization import build_optimizer, compute_lr
from training.tasks.splits import TRAIN, make_generator


def test_the_rate_is_constant_before_the_cosine_starts():
    config = OptimConfig(lr=0.1, warmup_steps=10, decay_start=0.6, min_lr_ratio=0.1)
    rates = [compute_lr(step, 110, config) for step in range(110)]
    assert rates[:10] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    assert rates[10:71] == pytest.approx([0.1] * 61)
    assert rates[90] == pytest.approx(0.1 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2))))
    assert all(before > after for before, after in itertools.pairwise(rates[71:]))


def test_without_a_constant_phase_the_rate_is_a_cosine():
    config = OptimConfig(lr=0.1, warmup_steps=0, min_lr_ratio=0.0)
    expected = [0.05 * (1 + math.cos(math.pi * step / 50)) for step in range(50)]
    assert [compute_lr(step, 50, config) for step in range(50)] == pytest.approx(expected, rel=1e-5)


def test_fused_steps_equal_plain_ones():
    config = make_tiny_config().with_overrides({"model.dropout": 0.0})
    task = config.make_task()
    inputs = task.sample(TRAIN, 4, make_generator("fused")).inputs
    weights = []
    for fused in (False, True):
        model = build_model(config.build_model_config(task), seed=1)
        optimizer = build_optimizer(model, OptimConfig(fused=fused, lr=0.01, weight_decay=0.1))
        for _ in range(3):
            optimizer.zero_grad()
            model(inputs).answers.square().sum().backward()
            optimizer.step()
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4, msg=name)
