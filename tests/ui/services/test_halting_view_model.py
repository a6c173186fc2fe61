"""Test the halting policies of a checkpoint and the halting view."""

import json

import pytest

from ctm.checkpoint.metadata import HaltingMetadata, PolicyRecord
from inference import parse
from inference.halting.evidence import describe_evidence, format_accuracy
from inference.halting.stored_policies import NEVER_HALT_POLICY, get_guarantee
from ui.services.halting_view_model import (
    FORK_LABEL,
    FULL_BUDGET_LABEL,
    PATIENCE_LABEL,
    build_halting_view,
    build_policy_options,
    summarize_metrics,
)

MEASURED_ACCURACY = {"accuracy": 0.98, "mean_ticks": 3.25, "n": 1_000}
RISK_GUARANTEE = {
    "risk": 0.01,
    "confidence": 0.95,
    "method": "ltt",
    "lost": 3,
    "allowed": 4,
    "score": "energy",
    "per_class": False,
}
HALTING = {
    "energy": {"kind": "wait", "chance": {"energy": 1.0, "certainty": -2.0, "bias": 0.5}},
    "policies": {
        "certainty": {"policy": "certainty>0.9", **MEASURED_ACCURACY},
        "energy": {"policy": "energy<-3", **MEASURED_ACCURACY, "tolerance": 0.005},
        "energy, at most 0.01 lost": {"policy": "energy<-2.5", **MEASURED_ACCURACY, "promise": RISK_GUARANTEE},
        "energy, at most 0.05 lost": {
            "policy": "energy<-1",
            **MEASURED_ACCURACY,
            "promise": RISK_GUARANTEE | {"risk": 0.05},
        },
        "margin, on average": {
            "policy": "margin>0.5",
            **MEASURED_ACCURACY,
            "promise": RISK_GUARANTEE | {"method": "crc", "score": "margin"},
        },
    },
    "default": "energy",
    "frontiers": {
        "split": "calibration",
        "n": 1_000,
        "rules": {
            "energy": [[1.0, 0.5, 2.0], [3.0, 0.97, -2.5], [5.0, 0.99, -9.0]],
            "fixed": [[1.0, 0.5, 1.0], [6.0, 0.98, 6.0]],
            "oracle": [[1.0, 0.5, 1.0], [2.0, 1.0, 6.0]],
        },
    },
}
METRICS = {
    "evaluations": [
        {
            "split": "test",
            "n": 800,
            "iterations": 6,
            "accuracy_halted": 0.97,
            "mean_ticks": 3.4,
            "rules": {"energy": {"accuracy": 0.97, "mean_ticks": 3.4, "lost": 0.005}},
            "reliability": {"ece": 0.01, "brier": 0.02, "nll": 0.1, "bins": [[0.6, 0.5, 10], [0.99, 0.98, 790]]},
        }
    ],
}


def index_by_name(options):
    return {option.name: option for option in options.values()}


def test_policies_are_listed_by_their_guarantee_with_the_default_first():
    options = build_policy_options(HALTING, 6, is_ctc=False)
    options_by_name = index_by_name(options)
    assert list(options_by_name) == [
        "Energy below threshold",
        "Certainty above threshold",
        "At most 1% of answers lost, with 95% confidence",
        "Fastest (at most 5% of answers lost, with 95% confidence)",
        "At most 1% of answers lost, on average: margin, on average",
        PATIENCE_LABEL,
        FORK_LABEL,
        FULL_BUDGET_LABEL,
    ]
    measured = "On 1,000 calibration samples: 98.0% correct in 3.2 ticks on average."
    certainty = options_by_name["Certainty above threshold"].description
    assert certainty == f"Stops when the certainty is above 0.9. {measured}"
    assert options_by_name["Energy below threshold"].description == (
        "Stops when the energy is below \N{MINUS SIGN}3. It uses the fewest ticks that lose at most 0.5 points of accuracy. "
        f"{measured}"
    )
    assert describe_evidence(PolicyRecord(policy="energy<0", tolerance=0.0)) == (
        "It uses the fewest ticks that lose no accuracy."
    )
    assert options_by_name["At most 1% of answers lost, with 95% confidence"].description == (
        "Stops when the energy is below \N{MINUS SIGN}2.5. Stopping early loses at most 1% of answers, with 95% confidence, on "
        f"data like the 1,000 calibration samples. {measured}"
    )
    assert (
        "on average, on data"
        in options_by_name["At most 1% of answers lost, on average: margin, on average"].description
    )
    assert all(str(parse(policy)) == policy for policy in options) and next(iter(options)) == "energy<-3"


def test_an_accuracy_below_one_is_never_written_as_all_correct():
    assert [format_accuracy(share) for share in (0.97, 0.9994, 0.9995, 0.99999, 1.0)] == [
        "97.0%",
        "99.9%",
        "99.95%",
        "99.99%",
        "100.0%",
    ]


def test_a_policy_is_listed_once_under_its_first_name():
    policies = HALTING["policies"]
    duplicate = policies["energy, at most 0.05 lost"] | {"policy": policies["energy, at most 0.01 lost"]["policy"]}
    options_by_name = index_by_name(
        build_policy_options(
            HALTING | {"policies": policies | {"energy, at most 0.05 lost": duplicate}}, 6, is_ctc=False
        )
    )
    assert "At most 1% of answers lost, with 95% confidence" in options_by_name
    assert "Fastest (at most 5% of answers lost, with 95% confidence)" not in options_by_name


def test_without_measurements_the_full_budget_is_the_default():
    options = build_policy_options({}, 9, is_ctc=False)
    assert (
        next(iter(options)) == NEVER_HALT_POLICY
        and next(iter(index_by_name(options))) == FULL_BUDGET_LABEL
        and FORK_LABEL not in index_by_name(options)
    )
    ctc_options = build_policy_options({"policies": {"said": {"policy": "said=5"}}, "default": "said"}, 9, is_ctc=True)
    assert list(index_by_name(ctc_options)) == ["All of the answer output", FULL_BUDGET_LABEL], (
        "a CTC answer is complete at the last tick only"
    )
    assert ctc_options["ticks=9"].name == FULL_BUDGET_LABEL
    assert next(iter(build_policy_options({}, 9, is_ctc=True))) == "ticks=9", "also without measured policies"


def test_a_guarantee_is_shown_for_its_own_policy_only():
    metadata = HaltingMetadata.model_validate(HALTING)
    assert get_guarantee(metadata, "energy<-2.5") == describe_evidence(
        PolicyRecord(**HALTING["policies"]["energy, at most 0.01 lost"])
    )
    assert get_guarantee(metadata, "energy<-3") == "" == get_guarantee(HaltingMetadata(), "ticks=3")


def build_held_out_sentences(**results: tuple[float, float, float]) -> dict[str, str]:
    """Return what the view says of each policy; results are accuracy, mean ticks and lost share by policy."""
    names = {"energy": "energy", "certainty": "certainty", "promise": "energy, at most 0.05 lost"}
    keys = ("accuracy", "mean_ticks", "lost")
    rules = {names[name]: dict(zip(keys, values, strict=True)) for name, values in results.items()}
    metrics = {"evaluations": [METRICS["evaluations"][0] | {"rules": rules}]}
    view = build_halting_view(HALTING, metrics, 6)
    return {point["rule"]: point["says"] for point in view["rules"]}


def test_a_held_out_loss_above_the_limit_is_stated_beside_it():
    says = build_held_out_sentences(energy=(0.96, 3.0, 0.014), promise=(0.93, 2.0, 0.054))
    assert says["energy<-3"].endswith(
        "On the held-out samples 1.4% of the answers became wrong by stopping early; "
        "the limit was kept on the calibration samples."
    )
    assert says["energy<-1"].endswith(
        "On the held-out samples it lost more: 5.4%. A guarantee with 95% confidence does not hold every time."
    )
    kept = build_held_out_sentences(energy=(0.96, 3.0, 0.005), promise=(0.93, 2.0, 0.05))
    assert "held-out" not in kept["energy<-3"] + kept["energy<-1"]


def test_a_default_that_another_policy_surpasses_says_so():
    says = build_held_out_sentences(energy=(0.7703, 26.3, 0.0), certainty=(0.7714, 25.7, 0.0))
    expected = (
        "another rule needs fewer ticks: Certainty above threshold, 77.1% in 25.7 ticks, against 77.0% in 26.3 ticks."
    )
    assert says["energy<-3"].endswith(expected)
    assert "another rule" not in says["certainty>0.9"]
    worse = build_held_out_sentences(energy=(0.7703, 26.3, 0.0), certainty=(0.76, 25.7, 0.0))
    assert "another rule" not in worse["energy<-3"]


def test_the_view_model_holds_curves_policies_and_reliability():
    view = json.loads(json.dumps(build_halting_view(HALTING, METRICS, 6), allow_nan=False))
    assert [(curve["name"], curve["form"]) for curve in view["curves"]] == [
        ("energy", "energy<"),
        ("fixed", "ticks="),
        ("oracle", ""),
    ]
    assert [policy["default"] for policy in view["rules"]] == [False, True, False, False, False]
    assert view["rules"][1]["held_out"] == {"accuracy": 0.97, "mean_ticks": 3.4, "lost": 0.005}
    assert view["rules"][0]["held_out"] is None and view["held_out"] == {"split": "test", "n": 800}
    assert view["reliability"]["bins"] == [[0.6, 0.5, 10], [0.99, 0.98, 790]]
    assert "fit-energy" in build_halting_view({}, METRICS, 6)["problem"]
    assert view["iterations"] == 6
    longer = HALTING | {"frontiers": HALTING["frontiers"] | {"iterations": 9}}
    assert build_halting_view(longer, METRICS, 2_000)["iterations"] == 9, (
        "the ticks of the measured frontiers take precedence"
    )
    bare = build_halting_view(HALTING, {}, 6)
    assert bare["reliability"] is None and bare["held_out"] is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "98.0% accuracy on 1,000 held-out samples (test), in 4.1 of 16 ticks on average."),
        ({"mean_ticks": 1.0}, "98.0% accuracy on 1,000 held-out samples (test), in 1 of 16 ticks on average."),
        ({"iterations": 1, "mean_ticks": 1.0}, "98.0% accuracy on 1,000 held-out samples (test)."),
        (
            {"accuracy_halted": 0.138, "figures": {"places": 0.6217}},
            "13.8% accuracy on 1,000 held-out samples (test), in 4.1 of 16 ticks on average. "
            "Single positions of the answer: 62.2% correct.",
        ),
    ],
)
def test_the_summary_of_a_checkpoint_states_its_held_out_figures(changes, expected):
    evaluation = {
        "accuracy_halted": 0.98,
        "n": 1000,
        "split": "test",
        "mean_ticks": 4.1,
        "iterations": 16,
        "figures": {},
    }
    assert summarize_metrics({"evaluations": [evaluation | changes]}) == expected
