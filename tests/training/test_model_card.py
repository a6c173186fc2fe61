"""Tests of the model card: metadata for the Hub, metrics, and a usage example that runs."""

import json
import re
from typing import Any

import pytest
from huggingface_hub import ModelCard

from ctm.checkpoint import METADATA_NAMES, count_weights
from tests.paths import ROOT
from training.model_card import build_title, compute_wilson_interval, render_model_card

CHECKPOINTS = sorted(path.parent.name for path in (ROOT / "checkpoints").glob("*/metrics.json"))
SECTIONS = ["Usage", "Training", "Evaluation", "Halting", "Limitations", "Credits"]


def read_metadata(name: str) -> dict[str, dict[str, Any]]:
    """Return the metadata of a bundled checkpoint by file."""
    files = {key: ROOT / "checkpoints" / name / f"{key}.json" for key in ("config", *METADATA_NAMES)}
    return {key: json.loads(path.read_text("utf-8")) if path.is_file() else {} for key, path in files.items()}


def render_card(name: str, repo: str = "", **changes: Any) -> str:
    """Render the card of a bundled checkpoint."""
    values = read_metadata(name) | changes
    num_parameters = count_weights(ROOT / "checkpoints" / name)
    return render_model_card(build_title(values["config"], name), **values, num_parameters=num_parameters, repo=repo)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_hub_metadata_has_all_evaluations(name):
    card = ModelCard(render_card(name, "alice/made"))
    evaluations = read_metadata(name)["metrics"]["evaluations"]
    values = {
        (result.dataset_split, result.metric_name): result.metric_value for result in card.data.eval_results or []
    }
    assert len(values) == 3 * len(evaluations)
    for evaluation in evaluations:
        assert values[evaluation["split"], "accuracy when halted"] == round(evaluation["accuracy_halted"], 4)
    assert card.data.license == "mit" and "continuous-thought-machine" in card.data.tags


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_card_has_all_sections_and_every_split(name):
    card = render_card(name)
    sections = re.findall(r"^## (.+)$", card, re.MULTILINE)
    assert [section for section in sections if section in SECTIONS] == sections and {"Usage", "Limitations"} < {
        *sections
    }
    for evaluation in read_metadata(name)["metrics"]["evaluations"]:
        assert f"| {evaluation['split']} | {evaluation['n']:,} | {evaluation['accuracy_halted']:.2%} [" in card


@pytest.mark.parametrize("name", ["parity-16", "digits-ff", "sorting-10"])
def test_the_usage_example_runs(name, capsys):
    (code,) = re.findall(r"```python\n(.+?)```", render_card(name), re.DOTALL)
    code = code.replace("path/to/this/directory", str(ROOT / "checkpoints" / name))
    exec(code.replace("picture.png", str(ROOT / "data/examples/digit-3.png")), {})
    sentence, *ticks = capsys.readouterr().out.splitlines()
    assert sentence.endswith(".") and [int(tick.split()[0]) for tick in ticks] == list(range(1, len(ticks) + 1))


def test_card_of_a_repository_has_a_hub_example_and_a_plot():
    card = render_card("parity-16", "alice/made")
    assert 'ctm.pipeline("alice/made")' in card and 'ctm.load_pretrained("alice/made")' in card
    assert "](accuracy.png)" in card and "accuracy.png" not in render_card("parity-16")


def test_card_of_an_unfinished_run_has_no_evaluation():
    training = {"command": "python -m training train x.yaml", "steps": 1_200}
    metrics = {"evaluations": [], "training": training, "validation": {"validation_accuracy_best": 0.5}}
    card = render_card("parity-16", "alice/made", metrics=metrics, halting={})
    assert "This is step 1,200 of a run that is still training" in card and "accuracy_best 0.5" in card
    assert "## Evaluation" not in card and "accuracy.png" not in card and "model-index" not in card
    assert "The run has not finished" in card


def test_split_with_lower_accuracy_is_a_limitation():
    metrics = read_metadata("parity-16")["metrics"]
    first = metrics["evaluations"][0] | {"split": "test", "n": 1_000, "accuracy_halted": 0.9}
    other_splits = [
        first | {"split": "near", "accuracy_halted": 0.89},
        first | {"split": "far", "accuracy_halted": 0.6},
    ]
    card = render_card("parity-16", metrics=metrics | {"evaluations": [first, *other_splits]})
    assert "On the split *far* accuracy falls from 90.00% to 60.00%." in card
    assert "split *near*" not in card, "the intervals overlap"


@pytest.mark.parametrize(
    ("share", "num_samples", "expected"),
    [
        (0.5, 100, (0.4038, 0.5962)),
        (0.99, 1_000, (0.9817, 0.9946)),
        (0.0, 10, (0.0, 0.2775)),
        (1.0, 10, (0.7225, 1.0)),
        (1.0, 1, (0.2065, 1.0)),
    ],
)
def test_wilson_interval_has_the_reference_bounds(share, num_samples, expected):
    assert compute_wilson_interval(share, num_samples) == pytest.approx(expected, abs=1e-4)
