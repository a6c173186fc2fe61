"""Tests of compiled ticks: outputs and gradients equal those of the uncompiled model, and a missing compiler is no error."""

import subprocess
import sys

import pytest
import torch

from tests.paths import ROOT
from tests.training.test_trainer import TINY_RECIPE, make_tiny_config, read_metrics
from training.run_dir import RunDir
from training.training_loop import train

# In a process of its own: torch.compile cannot trace the type checks that the tests add to every function.
COMPARE = """
import copy, sys
import torch
from ctm import build_model
from training.config import RunConfig
from training.tasks.splits import TRAIN, make_generator

torch.set_num_threads(1)
config = RunConfig.parse({recipe!r})
task = config.make_task()
model = build_model(config.build_model_config(task), seed=1)
compiled = copy.deepcopy(model)
compiled.compile_transition({backend!r})
inputs = task.sample(TRAIN, 4, make_generator("compiled")).inputs
outputs = []
for unrolled in (model, compiled):
    output = unrolled(inputs, with_internals=True)
    (output.answers.square().sum() + output.attention.square().sum()).backward()
    outputs.append(output)
for name in ("answers", "certainties", "energies", "attention", "activations"):
    torch.testing.assert_close(getattr(outputs[1], name), getattr(outputs[0], name), msg=name)
for (name, parameter), expected in zip(compiled.named_parameters(), model.parameters(), strict=True):
    torch.testing.assert_close(parameter.grad, expected.grad, msg=name)
with torch.no_grad():
    assert torch.equal(compiled(inputs).answers, model(inputs).answers), "without gradients"
assert compiled.state_dict().keys() == model.state_dict().keys()
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
print("equal")
"""


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_outputs_and_gradients_are_equal(backend):
    recipe = TINY_RECIPE | {"model": TINY_RECIPE["model"] | {"dropout": 0.0}}
    script = COMPARE.format(recipe=recipe, backend=backend)
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "equal\n", result.stderr[-2_000:]


def test_without_a_compiler_the_run_trains_and_says_why(tmp_path, monkeypatch, capsys):
    def fail(*_args, **_settings):
        raise RuntimeError("No working C++ compiler found\nin: g++, clang++")

    monkeypatch.setattr(torch, "compile", fail)
    plain, compiled = RunDir(tmp_path / "plain"), RunDir(tmp_path / "compiled")
    train(make_tiny_config(), plain)
    train(make_tiny_config(compile=True), compiled)
    output = capsys.readouterr().out
    assert "runs uncompiled: torch.compile failed with RuntimeError: No working C++ compiler found" in output
    assert "clang" not in output
    assert read_metrics(plain) == read_metrics(compiled)
