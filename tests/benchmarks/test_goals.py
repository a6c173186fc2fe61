"""Tests of the table of goals."""

import re

from benchmarks.goals import GOALS, Goal, build_goals_table, find_accuracy, format_link
from ctm.io.json_files import read_json
from tests.paths import ROOT


def test_every_missed_goal_is_explained_by_a_section_of_the_experiments():
    headings = re.findall(r"^##+ (.+)$", (ROOT / "docs/experiments.md").read_text("utf-8"), re.MULTILINE)
    for goal in GOALS:
        is_reached = find_accuracy(goal)[0] >= goal.accuracy
        assert is_reached or goal.section in headings, goal
        assert not goal.section or goal.section in headings, goal


def test_the_accuracy_of_a_goal_is_the_measured_one():
    evaluations = read_json(ROOT / "checkpoints/chain/metrics.json")["evaluations"]
    longer = next(e for e in evaluations if e["split"] == "longer")
    assert find_accuracy(Goal("chain", "longer", 0.5)) == (longer["accuracy_halted"], longer["n"])
    accuracy, count = find_accuracy(Goal("mazes-15", "19 x 19", 0.5))
    assert 0.9 < accuracy < 1 and count == 1_024


def test_the_table_states_goals_that_are_missed():
    rows = build_goals_table().splitlines()[2:]
    assert len(rows) == len(GOALS) and sum("| no: [" in row for row in rows) >= 1
    assert format_link("A dot further ahead") == "experiments.md#a-dot-further-ahead"
