"""Test the table of questions on digits."""

from benchmarks.digit_questions import render_table


def test_questions_longer_than_all_of_training_are_marked():
    rows = [{"operations": 2, "test": 0.5, "training": 0.75}, {"operations": 3, "test": 0.25, "training": 1.0}]
    model = {"checkpoint": "q", "digits": 4, "trained_operations": 2, "rows": rows}
    table = render_table({"models": [model], "n": 1_000, "command": "c", "date": "d"})
    assert "| q | 4 | 2 | 50.00% [46.91, 53.09] | 75.00% [72.22, 77.58] |" in table
    assert "| q | 4 | 3 (never trained) | 25.00%" in table
