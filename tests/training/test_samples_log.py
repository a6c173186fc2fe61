"""Test the file of live samples: its size is bounded, and it is the same after an interruption."""

import itertools

import pytest

from training import samples_log
from training.samples_log import MAX_FILE_BYTES, MAX_LINES, SamplesLog


def make_line(evaluation: int, num_chars: int = 10) -> dict:
    return {"step": 10 * evaluation, "evaluation": evaluation, "samples": [{"title": "x" * num_chars}]}


def test_all_evaluations_of_a_short_run_are_kept_and_read_one_by_one(tmp_path):
    log = SamplesLog(tmp_path / "samples.jsonl")
    assert log.list_steps() == [] and log.read(10) == []
    for evaluation in range(1, MAX_LINES):
        log.append(make_line(evaluation))
    assert log.list_steps() == [10 * evaluation for evaluation in range(1, MAX_LINES)]
    assert log.read(30) == [{"title": "x" * 10}] and log.read(31) == []


@pytest.mark.parametrize(("num_evaluations", "num_chars"), [(410, 10), (60, 78_000), (25, 400_000), (10, 990_000)])
def test_the_file_is_bounded_and_keeps_the_first_and_the_newest_evaluation(tmp_path, num_evaluations, num_chars):
    log = SamplesLog(tmp_path / "samples.jsonl")
    for evaluation in range(1, num_evaluations + 1):
        log.append(make_line(evaluation, num_chars))
        assert log.path.stat().st_size <= MAX_FILE_BYTES
    steps = log.list_steps()
    assert len(steps) <= MAX_LINES and (steps[0], steps[-1]) == (10, 10 * num_evaluations)
    gaps = {after - before for before, after in itertools.pairwise(steps[:-1])}
    assert len(gaps) == 1, "the older evaluations are evenly spaced"
    assert len(steps) >= min(MAX_LINES // 2, MAX_FILE_BYTES // (4 * num_chars)), "no more is deleted than necessary"


@pytest.mark.parametrize(("saved", "interrupted"), [(60, 105), (99, 180), (201, 202), (1, 240)])
def test_an_interrupted_run_ends_with_the_same_file(tmp_path, saved, interrupted):
    """An interruption may follow the deletion of lines that a saved step still had."""
    reference, resumed = SamplesLog(tmp_path / "reference"), SamplesLog(tmp_path / "resumed")
    for evaluation in range(1, 250):
        reference.append(make_line(evaluation))
    for evaluation in range(1, interrupted):
        resumed.append(make_line(evaluation))
    with resumed.path.open("ab") as file:
        file.write(b'{"step":99999,"evaluation":2,"sam')
    resumed.truncate(10 * saved)
    assert all(step <= 10 * saved for step in resumed.list_steps())
    for evaluation in range(saved + 1, 250):
        resumed.append(make_line(evaluation))
    assert resumed.path.read_bytes() == reference.path.read_bytes()


def test_a_line_that_does_not_fit_or_is_not_finite_is_refused(tmp_path):
    log = SamplesLog(tmp_path / "samples.jsonl")
    log.append(make_line(1))
    before = log.path.read_bytes()
    with pytest.raises(ValueError, match="at most"):
        log.append(make_line(2, samples_log.MAX_LINE_BYTES))
    with pytest.raises(ValueError, match="JSON compliant"):
        log.append(make_line(2) | {"samples": [float("nan")]})
    assert log.path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"\xff\n{}\n[]\n", b'{"step":1,"evaluation":1,}\n', b'{"step":1,"evaluation":1,"samples":3}']
)
def test_a_damaged_file_gives_no_samples(tmp_path, content):
    log = SamplesLog(tmp_path / "samples.jsonl")
    log.path.write_bytes(content)
    assert log.read(1) == []
    log.append(make_line(2))
    assert log.read(20) == [{"title": "x" * 10}]
