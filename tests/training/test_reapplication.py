"""Test the repeated application of a maze model, with an engine that knows the way."""

import json

import numpy as np
import pytest
import torch

from inference.engine import Engine, EngineResult
from tests.paths import ROOT
from training.__main__ import main
from training.data.maze import WAIT, Maze, compute_canonical_bytes
from training.reapplication import Walk, evaluate_reapplication, generate_test_mazes
from training.tasks import make_task
from training.tasks.samples import Batch
from training.tasks.splits import TEST, assign_split

TASK = make_task({"kind": "mazes", "side": 11, "route": 30})
CORRIDOR = np.array([[0, 0, 0, 0, 0, 0, 0], [0, 2, 1, 1, 1, 3, 0], [0, 0, 0, 0, 0, 0, 0]], np.uint8)


class KnowingEngine(Engine):
    """Answers with the first moves of the shortest route, then waits, and counts its inputs.

    Args:
        num_moves: Moves of an answer that are no waiting.
    """

    def __init__(self, num_moves: int) -> None:
        object.__setattr__(self, "num_moves", num_moves)
        object.__setattr__(self, "batch_sizes", [])

    def run(self, inputs: torch.Tensor, on_tick: None = None) -> EngineResult:
        """Return the answers as logits, and three ticks for each."""
        self.batch_sizes.append(len(inputs))
        choices = torch.full((len(inputs), TASK.settings.route), WAIT)
        for row, pixels in zip(choices, inputs, strict=True):
            maze = TASK.build_task_input(Batch(pixels[None], choices[:1], choices[:1, 0])).context
            moves = maze.find_shortest_moves()[: self.num_moves]
            row[: len(moves)] = torch.tensor(moves)
        answer = torch.nn.functional.one_hot(choices, 5).flatten(1).float()
        ticks = torch.full((len(inputs),), 3)
        return EngineResult(answer, torch.ones(len(inputs), 1), None, ticks, ticks, ["ticks=3"] * len(inputs))


@pytest.mark.parametrize("num_moves", [1, 4, 30])
def test_a_model_that_knows_some_moves_solves_a_maze_once_they_add_up(num_moves):
    mazes = generate_test_mazes(TASK, 11, 100)
    lengths = np.array([len(maze.find_shortest_moves()) for maze in mazes])
    needed = -(-lengths // num_moves)
    engine = KnowingEngine(num_moves)
    result = evaluate_reapplication(engine, TASK, mazes, 50)
    assert result["n"] == 100 and result["mean_shortest"] == lengths.mean()
    assert [row["applications"] for row in result["by_application"]] == list(range(1, needed.max() + 1))
    for row in result["by_application"]:
        assert row["solved"] == (needed <= row["applications"]).mean()
        assert row["interval"][0] <= row["solved"] <= row["interval"][1]
        assert row["mean_ticks"] == pytest.approx(3 * np.minimum(needed, row["applications"]).mean())
    assert result["by_application"][-1]["mean_steps"] == pytest.approx(lengths.mean())
    assert sum(engine.batch_sizes) == needed.sum(), "a solved maze is not run again"


def test_a_model_that_only_waits_is_applied_once():
    engine = KnowingEngine(0)
    (row,) = evaluate_reapplication(engine, TASK, generate_test_mazes(TASK, 11, 3), 50)["by_application"]
    assert row["solved"] == row["mean_steps"] == 0 and engine.batch_sizes == [3]


def test_a_walk_ends_before_a_wall_and_stops_where_it_has_started_before():
    walk = Walk(Maze(CORRIDOR), (1, 1))
    walk.follow([3, 0, 3], ticks=2)  # right, then into a wall
    assert (walk.position, walk.steps, walk.ticks, walk.is_stuck) == ((1, 2), 1, 2, False)
    assert walk.remaining_maze.start == (1, 2) and walk.remaining_maze.is_open((1, 1))
    walk.follow([2], ticks=4)  # back
    assert (walk.position, walk.steps, walk.ticks, walk.is_stuck) == ((1, 1), 2, 6, True)
    walk.follow([3, 3, 3, 3, 3], ticks=1)
    assert walk.is_solved and walk.steps == 6, "a walk ends at the goal"


def test_mazes_of_another_size_are_test_mazes_with_routes_of_any_length():
    mazes = generate_test_mazes(TASK, 31, 40)
    assert {maze.grid.shape for maze in mazes} == {(31, 31)}
    assert max(len(maze.find_shortest_moves()) for maze in mazes) > TASK.settings.route
    assert len({maze.grid.tobytes() for maze in mazes}) == 40
    assert {assign_split(compute_canonical_bytes(maze.grid)) for maze in mazes} == {TEST}


def test_the_command_applies_the_bundled_model_again(capsys):
    main(["evaluate", str(ROOT / "checkpoints/mazes-15-untaught"), "--reapply", "4", "--samples", "64"])
    result = json.loads(capsys.readouterr().out)
    assert (result["side"], result["n"], result["split"]) == (15, 64, "test")
    first, *_, last = result["by_application"]
    assert 0.6 < first["solved"] < last["solved"]


@pytest.mark.parametrize(
    ("checkpoint", "options", "message"),
    [
        ("parity-16", ["--reapply", "2"], "needs a maze model; the task of this checkpoint is parity"),
        ("mazes-15", ["--reapply", "2", "--side", "16"], "--side must be odd, 2k \\+ 1 for k cells a side: got 16"),
        ("mazes-15", ["--reapply", "2", "--split", "validation"], "leave out --save, --data and --split"),
        ("mazes-15", ["--side", "19"], "--side is for --reapply: add --reapply N"),
        ("mazes-15", ["--samples", "19"], "--samples is for --reapply: add --reapply N"),
    ],
)
def test_the_command_refuses_options_that_do_not_fit(checkpoint, options, message):
    with pytest.raises(SystemExit, match=message):
        main(["evaluate", str(ROOT / "checkpoints" / checkpoint), *options])
