"""Tests of `python -m inference.calibrate`: its output and its errors."""

import json

import pytest

from ctm.checkpoint import load
from inference import parse
from tests.paths import ROOT
from training.cli.calibrate import main

CHECKPOINTS = ROOT / "checkpoints"


def read_output(capsys) -> dict:
    line, record = capsys.readouterr().out.splitlines()
    assert "Written to" in line and json.loads(record)["policy"] in line
    return json.loads(record)


def test_calibrate_adds_a_policy_with_a_risk_guarantee(tmp_path, capsys):
    main([str(CHECKPOINTS / "digits"), "--risk", "0.02", "--out", str(tmp_path / "new")])
    record = read_output(capsys)
    before = load(CHECKPOINTS / "digits").halting
    after = load(tmp_path / "new").halting
    assert after["policies"].pop(record["name"])["policy"] == record["policy"]
    assert record["name"] == "energy, at most 0.02 lost with confidence 0.95"
    before["policies"].pop(record["name"], None)
    assert after == before, "nothing else changes"
    assert record["promise"]["lost"] <= record["promise"]["allowed"] and record["promise"]["split"] == "calibration"
    assert parse(record["policy"]).needs_energy and record["mean_ticks"] < 8


@pytest.mark.parametrize(
    "score, prefix", [("margin", "margin>"), ("patience", "same="), ("certainty.min", "certainty.min>")]
)
def test_threshold_of_any_score_can_be_certified(score, prefix, tmp_path, capsys):
    main(
        [
            str(CHECKPOINTS / "digits"),
            "--risk",
            "0.05",
            "--score",
            score,
            "--method",
            "crc",
            "--out",
            str(tmp_path / "new"),
        ]
    )
    record = read_output(capsys)
    assert record["policy"].startswith(prefix) and record["promise"]["method"] == "crc"


def test_per_class_option_writes_one_threshold_per_class(tmp_path, capsys):
    main([str(CHECKPOINTS / "digits"), "--risk", "0.2", "--per-class", "--out", str(tmp_path / "new")])
    record = read_output(capsys)
    assert len(parse(record["policy"]).thresholds) == 10 and "by class" in record["name"]


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("digits", ["--risk", "0.001"], r"788 calibration samples are too few .* it takes 2,995"),
        ("digits", ["--risk", "0"], "risk must lie between 0 and 1"),
        ("digits", ["--confidence", "1"], "confidence must lie"),
        ("sorting-10", [], "ends when it is complete"),
        ("arithmetic", ["--per-class"], "one position"),
        ("nowhere", [], "nowhere"),
    ],
)
def test_requests_that_cannot_be_certified_are_rejected_without_output(name, options, message, tmp_path):
    with pytest.raises(SystemExit, match=f"Error: .*{message}"):
        main([str(CHECKPOINTS / name), "--samples", "500", "--out", str(tmp_path / "new"), *options])
    assert not (tmp_path / "new").exists()
