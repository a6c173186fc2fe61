"""Test the table of mazes that are solved with repeated application."""

from benchmarks.maze_reapplication import render_table


def test_shares_of_later_applications_are_those_of_the_last_one():
    results = [{"solved": 0.5, "mean_ticks": 10.0}, {"solved": 0.75, "mean_ticks": 14.5}]
    sides = {"19": {"n": 1_000, "mean_shortest": 40.25, "by_application": results}}
    figures = {"models": [{"checkpoint": "m", "policy": "ticks=9", "sides": sides}], "command": "c", "date": "d"}
    table = render_table(figures)
    shares = "50.00% [46.91, 53.09] | " + " | ".join(["75.00% [72.22, 77.58]"] * 4)
    assert f"| m | 19 x 19 | 1,000 | 40.2 | {shares} | 14.5 |" in table
    assert "`m` with `ticks=9`; `c`, d." in table
