"""Test the table of remembered digits."""

import torch

from benchmarks.digit_recall import find_last_positions, render_table
from ctm.modules.input_schedule import MINUS, PLUS, pack_frames


def test_the_last_position_of_a_question_stands_before_the_empty_frames():
    images = [torch.zeros(3, 1, 32, 32), torch.zeros(1, 1, 32, 32)]
    frames = pack_frames(images, [[2, PLUS, 0, MINUS, 1], [0]], 8)
    assert find_last_positions(frames).tolist() == [1, 0]


def test_the_table_states_how_long_a_digit_is_remembered():
    rows = [
        {"digit": 1, "ticks": 25, "n": 1_000, "accuracy": 0.5},
        {"digit": 2, "ticks": 22, "n": 900, "accuracy": 1.0},
    ]
    model = {"checkpoint": "q", "memory_length": 24, "rows": rows}
    table = render_table({"models": [model], "command": "c", "date": "d"})
    assert "| `q` | 24 | 1 | 25 | 1,000 | 50.00% [46.91, 53.09] |" in table
    assert "| `q` | 24 | 2 | 22 | 900 | 100.00%" in table
