"""Tests of the accuracy of first moves."""

import torch

from benchmarks.maze_distances import check_first_moves, render_table
from ctm.models.outputs import UnrolledOutput
from training.reapplication import generate_test_mazes
from training.tasks import make_task


def test_the_first_moves_are_right_if_they_lead_to_the_next_cell_of_the_shortest_route():
    task = make_task({"kind": "mazes", "side": 11, "route": 6})
    mazes = generate_test_mazes(task, 15, 70)  # more than a batch
    moves = torch.tensor([(maze.find_shortest_moves() + [4] * 6)[:6] for maze in mazes])
    moves[3, 1] = 4
    moves[5, 2] = 4  # not one of the first two
    rows = iter(moves.split(64))

    def answer(inputs: torch.Tensor) -> UnrolledOutput:
        answers = torch.nn.functional.one_hot(next(rows), 5).float().flatten(1)
        return UnrolledOutput(answers.unsqueeze(2), torch.zeros(len(inputs), 2, 1), None)

    is_right = check_first_moves(answer, task, mazes)
    assert (~is_right).nonzero().flatten().tolist() == [3]


def test_the_table_has_a_row_for_every_distance():
    models = [{"checkpoint": name, "rows": [{"n": 10, "accuracy": 0.5}] * 5} for name in ("a", "b")]
    lines = render_table({"models": models, "command": "c", "date": "d"}).splitlines()
    assert lines[0] == "| moves to the goal | n | `a` | `b` |"
    assert [line.split(" | ")[0] for line in lines[2:7]] == [
        "| 2 to 50",
        "| 52 to 100",
        "| 102 to 150",
        "| 152 to 200",
        "| more than 200",
    ]
