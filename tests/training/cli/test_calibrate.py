"""The command that makes promises: what it writes, and what it refuses."""

import json

import pytest

from ctm.checkpoint import load
from inference import parse
from tests.paths import ROOT
from training.cli.calibrate import main

CHECKPOINTS = ROOT / "checkpoints"


def read_output(capsys) -> dict:
    sentence, found = capsys.readouterr().out.splitlines()
    assert "Written to" in sentence and json.loads(found)["policy"] in sentence
    return json.loads(found)


def test_a_risk_guarantee_is_written_beside_the_other_policies(tmp_path, capsys):
    main([str(CHECKPOINTS / "digits"), "--risk", "0.02", "--out", str(tmp_path / "new")])
    found, before, after = read_output(capsys), load(CHECKPOINTS / "digits").halting, load(tmp_path / "new").halting
    assert after["policies"].pop(found["name"])["policy"] == found["policy"]
    assert found["name"] == "energy, at most 0.02 lost with confidence 0.95"
    before["policies"].pop(found["name"], None)
    assert after == before, "all else is as it was"
    assert found["promise"]["lost"] <= found["promise"]["allowed"] and found["promise"]["split"] == "calibration"
    assert parse(found["policy"]).needs_energy and found["mean_ticks"] < 8


@pytest.mark.parametrize(
    "score, form", [("margin", "margin>"), ("patience", "same="), ("certainty.min", "certainty.min>")]
)
def test_any_score_can_be_certified(score, form, tmp_path, capsys):
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
    found = read_output(capsys)
    assert found["policy"].startswith(form) and found["promise"]["method"] == "crc"


def test_classes_can_have_their_own_thresholds(tmp_path, capsys):
    main([str(CHECKPOINTS / "digits"), "--risk", "0.2", "--per-class", "--out", str(tmp_path / "new")])
    found = read_output(capsys)
    assert len(parse(found["policy"]).thresholds) == 10 and "by class" in found["name"]


@pytest.mark.parametrize(
    "name, options, says",
    [
        ("digits", ["--risk", "0.001"], r"788 calibration samples are too few .* it takes 2,995"),
        ("digits", ["--risk", "0"], "risk must lie between 0 and 1"),
        ("digits", ["--confidence", "1"], "confidence must lie"),
        ("sorting-10", [], "all is said"),
        ("arithmetic", ["--per-class"], "one position"),
        ("nowhere", [], "nowhere"),
    ],
)
def test_what_cannot_be_certified_is_rejected_and_nothing_is_written(name, options, says, tmp_path):
    with pytest.raises(SystemExit, match=f"Error: .*{says}"):
        main([str(CHECKPOINTS / name), "--samples", "500", "--out", str(tmp_path / "new"), *options])
    assert not (tmp_path / "new").exists()
