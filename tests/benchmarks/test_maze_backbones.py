"""Tests of the training of a backbone alone."""

import torch

from benchmarks import maze_backbones
from training.auxiliary_losses import FeatureProbe
from training.tasks import make_task
from training.tasks.samples import Batch


def test_a_few_steps_are_measured_on_test_mazes(monkeypatch):
    monkeypatch.setattr(maze_backbones, "NUM_TEST_MAZES", 8)
    monkeypatch.setattr(maze_backbones, "WARMUP_STEPS", 1)
    row = maze_backbones.measure(blocks=1, steps=3)
    assert row["blocks"] == 1 and row["num_mazes"] == 8
    assert row["num_cells"] == 8 * (7 * 7 - 1), "every cell but the goal"
    assert 0 < row["cells"] < 1 and 0 <= row["mazes"] <= row["cells"]
    table = maze_backbones.render_table({"rows": [row], "steps": 3, "command": "c", "date": "d"})
    assert "n = 8; 3 steps" in table


def test_a_probe_that_knows_every_move_is_always_right():
    task = make_task({"kind": "mazes", "side": 15, "route": 50})

    class Oracle(torch.nn.Module):
        def forward(self, images):
            count = len(images)
            batch = Batch(images, torch.zeros(count, 50, dtype=torch.long), torch.zeros(count, dtype=torch.long))
            cells = task.compute_place_classes(batch).unflatten(1, (15, 15))[:, 1::2, 1::2].clamp(min=0)
            moves = torch.nn.functional.one_hot(cells, 4).permute(0, 3, 1, 2).float()
            return torch.nn.functional.pad(moves, (0, 1, 0, 1))

    probe = FeatureProbe(4, 4, seed=0)
    probe.linear = torch.nn.Identity()
    row = maze_backbones.evaluate(task, Oracle(), probe)
    assert (row["cells"], row["mazes"]) == (1, 1)
