"""Test the table of the first answer after a touch, and that the touched models are bundled."""

from benchmarks.browser_engine import list_checkpoints
from benchmarks.first_answer import TOUCHES, render_table


def test_the_table_names_every_model_the_computer_and_the_command():
    rows = [
        {"checkpoint": name, "first": 812.4, "median": 61.6, "p95": 99.5 + index, "touches": 30}
        for index, name in enumerate(TOUCHES)
    ]
    hardware = {"processor": "a processor", "cores": 2}
    table = render_table({"rows": rows, "command": "a command", "date": "2026-11-30", "hardware": hardware})
    for name in TOUCHES:
        assert f"| {name} | 62 ms (" in table
    assert "of 30 | 812 ms |" in table and "a processor, 2 cores" in table and "`a command`" in table


def test_the_touched_models_are_bundled():
    assert set(TOUCHES) <= set(list_checkpoints())
