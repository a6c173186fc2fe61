"""Test the names of the models that are compared with baselines."""

import pytest

from benchmarks.checkpoint_tables import split_checkpoint_name


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("mazes-15", "ctm", ("mazes-15", "")),
        ("brackets-short", "ctm", ("brackets", "as many steps")),
        ("tracking-position-untaught", "ctm", ("tracking-position", "untaught")),
        ("digits-lstm", "lstm", ("digits", "")),
    ],
)
def test_the_end_of_a_name_tells_how_a_model_was_trained(name, kind, expected):
    assert split_checkpoint_name(name, kind) == expected
