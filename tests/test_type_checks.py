"""Test that the annotations of the packages are checked while the tests run."""

from dataclasses import dataclass

import jaxtyping
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import Float, TypeCheckError

from tests.type_checks import CHECKED_CALLS, CurrentTest, check_types, has_array_annotations
from training.data.maze import compute_all_canonical_bytes
from training.data.maze_generator import root_at
from training.tasks.splits import assign_split


def test_a_wrong_argument_of_a_function_without_arrays_is_an_error():
    with pytest.raises(TypeCheckError):
        assign_split("text")


def test_a_wrong_result_of_a_function_without_arrays_is_an_error(monkeypatch):
    monkeypatch.setattr("training.tasks.splits.build_percent_table", lambda percent: [None] * 100)
    with pytest.raises(TypeCheckError):
        assign_split(b"text")


@pytest.mark.parametrize("grids", [np.zeros((2, 5), np.uint8), np.zeros((2, 5, 5), np.float32), [[[0]]]])
def test_an_array_of_another_shape_or_type_is_an_error(grids):
    with pytest.raises(TypeCheckError):
        compute_all_canonical_bytes(grids)


def test_axes_of_two_arrays_are_compared():
    with pytest.raises(TypeCheckError):
        root_at(np.zeros((2, 4), np.int64), np.zeros(3, np.int64))


def test_the_first_calls_of_every_test_are_checked(monkeypatch):
    @check_types(typechecker=beartype)
    def negate(value: int) -> int:
        return -value

    @check_types(typechecker=beartype)
    @dataclass
    class Pair:
        values: Float[np.ndarray, "2"]

    for function, valid, wrong in ((negate, 1, 1.5), (Pair, np.zeros(2), np.zeros(3))):
        for test in (1, 2):
            monkeypatch.setattr(CurrentTest, "number", test)
            with pytest.raises(TypeCheckError):
                function(wrong)
            for _ in range(CHECKED_CALLS - 1):
                function(valid)
            function(wrong)  # no longer checked


def test_checks_can_be_disabled():
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(TypeError, match="buffer"):
            assign_split(3)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Float[np.ndarray, "n"], True),
        (list[Float[np.ndarray, "n"]] | None, True),
        ('Float[np.ndarray, "n"]', True),
        (np.ndarray, False),
        ("Maze", False),
    ],
)
def test_functions_with_arrays_in_any_annotation_are_found(annotation, expected):
    def function(value):
        return value

    function.__annotations__["return"] = annotation
    assert has_array_annotations(function) is expected
