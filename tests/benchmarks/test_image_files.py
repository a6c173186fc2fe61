"""Test the benchmark of image files with a few drawings per group."""

import numpy as np
import pytest

from benchmarks.image_files import DigitReader, draw_digits, measure_encoder, render_summary, render_table
from benchmarks.image_kinds import ENCODERS
from training.data.image_reader import read_image
from training.tasks.splits import VALIDATION

NUM_DRAWINGS = 10
MIN_RIGHT = 8


@pytest.fixture(scope="module")
def reader() -> DigitReader:
    return DigitReader(lambda content: read_image(content).to_array())


@pytest.fixture(scope="module")
def drawings() -> list[tuple[np.ndarray, int]]:
    return list(draw_digits(VALIDATION, NUM_DRAWINGS, seed=7))


@pytest.mark.parametrize("group", [group for group in ENCODERS if group != "large JPEG"])
def test_digits_in_files_of_every_kind_are_recognized(group, reader, drawings):
    for name, encoder in ENCODERS[group].items():
        row = measure_encoder(reader, drawings, encoder, seed=7)
        assert row["right"] >= MIN_RIGHT and row["refused"] == 0, name


def test_drawings_depend_on_the_seed_alone():
    first, again, other = (next(draw_digits(VALIDATION, 1, seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and first.shape != other.shape
    assert first.min() >= 0 and first.max() <= 1 and first[0, 0] == 1


def test_figures_are_rendered_by_kind_and_by_group():
    row = {"n": 10, "right": 9, "refused": 0, "interval": [0.6, 0.98]}
    rows = {"usual: PNG": row, "usual: JPEG": row | {"right": 8}, "floats: NaN": row}
    figures = {"split": "test", "seed": 1, "date": "2026-01-01", "rows": rows}
    assert "| usual: JPEG | 10 | 80.0% | 60.0% to 98.0% | 0 |" in render_table(figures)
    assert "| usual | 2 | 85.0% | JPEG | 8 of 10 (80.0%) | 60.0% to 98.0% |" in render_summary(figures)
