"""Tests of halting policies: they print, parse, compose, describe themselves, and halt as documented."""

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as F

from ctm import TickOutput
from ctm.modules.readout import ANSWER_SIGNALS
from inference import parse
from inference.halting.base import format_against_threshold
from inference.halting.policies import (
    AllOf,
    AnyOf,
    CertaintyAbove,
    ChangeBelow,
    EnergyBelow,
    EnergyConverged,
    FixedTicks,
    PerClassThreshold,
    SameAnswer,
    SignalAbove,
)
from inference.halting.policy_parser import POLICY_CLASSES
from inference.tick_history import TickHistory, start_history

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: float(f"{x:g}"))
counts = st.integers(1, 999_999)
leaves = st.one_of(
    counts.map(FixedTicks),
    counts.map(SameAnswer),
    numbers.map(EnergyBelow),
    st.builds(CertaintyAbove, numbers, st.sampled_from(["mean", "min"])),
    st.builds(EnergyConverged, numbers, counts),
    numbers.map(ChangeBelow),
    st.builds(SignalAbove, st.sampled_from(["margin", "probability"]), numbers),
    st.lists(numbers, min_size=1, max_size=4).map(lambda levels: PerClassThreshold(EnergyBelow(0.0), tuple(levels))),
)
policies = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda kind, parts: kind(tuple(parts)), st.sampled_from([AnyOf, AllOf]), st.lists(inner, min_size=2, max_size=3)
    ),
    max_leaves=6,
)


@given(policies)
def test_printing_and_parsing_are_inverse(policy):
    if len(str(policy)) <= 500:
        assert parse(str(policy)) == policy


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_rejected_in_one_sentence(text):
    try:
        assert parse(str(parse(text))) == parse(text)
    except ValueError as error:
        assert "\n" not in str(error).strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "energy",
        "energy<",
        "energy>1",
        "energy<nan",
        "energy<inf",
        "ticks=0",
        "ticks=-1",
        "ticks=1.5",
        "same=0",
        "converged<0.1x0",
        "a|b",
        "energy<1|",
        "&",
        "(energy<1",
        "energy<1)",
        "()",
        "(" * 99 + ")" * 99,
        "certainty.max>1",
        "x" * 501,
        "energy<1;import os",
        "ticks=9999999",
    ],
)
def test_invalid_text_is_rejected(text):
    with pytest.raises(ValueError):
        parse(text)


def test_parsing_ignores_spaces_and_case():
    assert parse(" Energy < 0.1 | Converged<0.01 x3") == AnyOf((EnergyBelow(0.1), EnergyConverged(0.01, 3)))


def make_history(certainty=((0.5,),), choices=None, energy=None) -> TickHistory:
    """Build the history of one row; each sequence has one entry per tick."""
    certainty = torch.tensor([certainty], dtype=torch.float32)
    choices = torch.zeros_like(certainty, dtype=torch.long) if choices is None else torch.tensor([choices])
    return TickHistory(certainty, choices, None if energy is None else torch.tensor([energy]))


def test_an_uncertain_position_lowers_the_minimum_below_the_threshold_but_not_the_mean():
    history = make_history(certainty=((1.0, 0.2),))
    assert bool(parse("certainty>0.5").should_halt(history))
    assert not bool(parse("certainty.min>0.5").should_halt(history))


def test_convergence_needs_the_stated_number_of_ticks():
    policy = parse("converged<0.1x2")
    history = make_history(certainty=((0.5,),) * 4, energy=[3.0, 1.0, 1.05, 1.0])
    assert [bool(policy.should_halt(history.truncate(tick))) for tick in (1, 2, 3, 4)] == [False, False, False, True]


def test_same_answer_compares_all_positions():
    policy = parse("same=2")
    history = make_history(certainty=((0.5, 0.5),) * 3, choices=[[1, 2], [1, 3], [1, 3]])
    assert [bool(policy.should_halt(history.truncate(tick))) for tick in (1, 2, 3)] == [False, False, True]


def test_the_policy_of_the_fork_can_be_expressed():
    """It halts below the threshold or when one step moves the energy by less than delta; its first tick cannot converge."""
    policy = parse("energy<0.5|converged<0.01x1")
    for energy, expected_tick in (([0.4, 3.0], 1), ([2.0, 2.005], 2), ([2.0, 0.1], 2)):
        history = make_history(certainty=((0.5,),) * 2, energy=energy)
        halts = [bool(policy.should_halt(history.truncate(tick))) for tick in (1, 2)]
        assert halts.index(True) + 1 == expected_tick


def test_energy_policies_report_a_missing_energy():
    with pytest.raises(ValueError, match="no energy head"):
        parse("energy<0").should_halt(make_history())


@pytest.mark.parametrize(
    "text, needs_energy",
    [("energy<1", True), ("same=2", False), ("same=2|energy<1", True), ("same=2&(ticks=3|converged<1x1)", True)],
)
def test_a_policy_knows_whether_it_needs_energy(text, needs_energy):
    assert parse(text).needs_energy is needs_energy


def record_logits(logits) -> TickHistory:
    """Build the history of these logits (t, P, C), for one row."""
    outputs = [
        TickOutput(answer.flatten().unsqueeze(0), torch.zeros(1, answer.size(0)), None)
        for answer in torch.tensor(logits, dtype=torch.float32)
    ]
    history = start_history(outputs[0], signals=frozenset(ANSWER_SIGNALS))
    for output in outputs[1:]:
        history = history.append(output)
    return history


def test_signals_are_those_of_the_least_certain_position():
    history = record_logits([[[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[9.0, 0.0, 0.0], [0.0, 2.0, 1.0]]])
    probabilities = torch.tensor([0.0, 2.0, 1.0]).softmax(0)
    assert torch.allclose(history.signals["probability"], torch.tensor([[1 / 3, probabilities[1]]]))
    assert torch.allclose(
        history.signals["margin"], torch.tensor([[0.0, probabilities[1] - probabilities[2]]]), atol=1e-6
    )
    assert bool(parse("margin>0.4").should_halt(history)) and not bool(
        parse("margin>0.4").should_halt(history.truncate(1))
    )
    assert bool(parse("probability>0.6").should_halt(history)) and not bool(
        parse("probability>0.7").should_halt(history)
    )


def test_change_is_the_divergence_from_the_previous_tick_and_infinite_at_the_first():
    previous, current = (torch.tensor(logits).log_softmax(0) for logits in ([1.0, 0.0], [3.0, 0.0]))
    history = record_logits([[[1.0, 0.0]], [[3.0, 0.0]], [[3.0, 0.0]]])
    divergence = F.kl_div(previous, current, log_target=True, reduction="sum")  # of the current from the previous one
    assert torch.allclose(history.signals["change"], torch.tensor([[torch.inf, divergence, 0.0]]), atol=1e-6)
    assert [bool(parse("change<0.01").should_halt(history.truncate(tick))) for tick in (1, 2, 3)] == [
        False,
        False,
        True,
    ]


def test_scores_of_all_ticks_equal_those_computed_tick_by_tick():
    generator = torch.Generator().manual_seed(1)
    choices = torch.randint(2, (50, 9, 2), generator=generator)
    history = TickHistory(torch.rand(50, 9, 2, generator=generator), choices, torch.randn(50, 9, generator=generator))
    for text in ("certainty>0.6", "certainty.min>0.4", "energy<-0.5", "same=1", "same=2", "same=3"):
        policy = parse(text)
        halts = policy.score(history) > policy.level
        prefixes = [history.truncate(tick) for tick in range(1, 10)]
        assert torch.equal(halts, torch.stack([policy.should_halt(prefix) for prefix in prefixes], 1)), text
        windows = [
            prefix._map_tensors(lambda values, lookback=policy.lookback: values[:, -lookback:]) for prefix in prefixes
        ]
        assert torch.equal(halts, torch.stack([policy.should_halt(window) for window in windows], 1)), (
            "the engine keeps only the newest ticks"
        )


# --- descriptions ----------------------------------------------------------------------------------------------------

DESCRIPTIONS = {
    "ticks=1": "Stops after 1 tick.",
    "ticks=12": "Stops after 12 ticks.",
    "certainty>0.9": "Stops when the certainty is above 0.9.",
    "certainty>1": "Uses every tick; the answer is taken from the most certain one.",
    "certainty.min>0.9": "Stops when the certainty of the least certain position is above 0.9.",
    "margin>0.5": "Stops when the lead of the top answer over the next is above 50%.",
    "probability>0.9": "Stops when the probability of the top answer is above 90%.",
    "change<0.0005": "Stops when the change of the answer since the previous tick is below 0.0005 nats.",
    "energy<-3": "Stops when the energy is below \N{MINUS SIGN}3.",
    "energy<[-3,-2]": "Stops when the energy is below the threshold of the current answer.",
    "converged<0.01": "Stops when the energy changes by less than 0.01.",
    "converged<0.01x3": "Stops when the energy changes by less than 0.01 at 3 ticks in a row.",
    "same=4": "Stops when the answer is the same at 4 ticks in a row.",
    "said=10": "Stops when all 10 items of the answer are output.",
    "energy<3|ticks=12": "Stops when the energy is below 3, or 12 ticks have run.",
    "(energy<3|same=2)&certainty>0.9": (
        "Stops when (the energy is below 3, or the answer is the same at 2 ticks in a row) and the certainty is above 0.9."
    ),
}


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_a_policy_describes_what_it_stops_on(text):
    assert parse(text).describe() == DESCRIPTIONS[text]


@given(policies)
def test_every_policy_describes_itself_in_one_sentence(policy):
    description = policy.describe()
    assert description.startswith(("Stops ", "Uses ")) and description.endswith(".") and "\n" not in description
    assert all(line.signal in ("energy", "certainty") for line in policy.chart_lines())


@pytest.mark.parametrize("policy_class", POLICY_CLASSES)
def test_the_examples_of_a_policy_are_policies_of_its_class(policy_class):
    assert policy_class.examples
    for example in policy_class.examples:
        assert type(parse(example)) is policy_class and str(parse(example)) == example
        with pytest.raises(ValueError, match=f"known: .*{re.escape(example)}"):
            parse("energy")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("ticks=3", "set to 3 ticks"),
        ("certainty>0.5", "certainty 0.625, above 0.5"),
        ("certainty.min>0.1", "certainty of the least certain position 0.25, above 0.1"),
        ("margin>0.5", "lead of the top answer over the next 75%, above 50%"),
        ("probability>0.25", "probability of the top answer 88.3%, above 25%"),
        ("change<0.5", "change of the answer since the previous tick 0.125 nats, below 0.5 nats"),
        ("energy<-1", "energy \N{MINUS SIGN}1.5, below \N{MINUS SIGN}1"),
        ("converged<1x2", "energy changed by at most 0.5, less than 1 at 2 ticks in a row"),
        ("same=2", "the same answer at 2 ticks in a row"),
        ("energy<-9|same=2|energy<0", "the same answer at 2 ticks in a row"),
        ("energy<0&same=2", "energy \N{MINUS SIGN}1.5, below 0, and the same answer at 2 ticks in a row"),
    ],
)
def test_the_reason_has_the_values_of_the_last_tick(text, reason):
    history = make_history(
        certainty=((0.5, 0.5), (0.5, 0.5), (1.0, 0.25)), choices=[[1, 1], [2, 1], [2, 1]], energy=[-1.0, -1.0, -1.5]
    )
    scores = {"margin": 0.75, "probability": 0.8826, "change": 0.125}
    history = replace(history, signals={name: torch.full((1, 3), value) for name, value in scores.items()})
    assert bool(parse(text).should_halt(history)) and parse(text).reason(history) == reason


def test_the_reason_of_a_threshold_per_class_names_the_threshold_of_the_answer():
    policy = PerClassThreshold(EnergyBelow(0.0), (-9.0, -1.0))
    history = make_history(certainty=((0.5,),), choices=[[1]], energy=[-1.5])
    assert policy.reason(history) == ("energy \N{MINUS SIGN}1.5, below \N{MINUS SIGN}1, the threshold of this answer")


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_rounded_value_stays_on_its_side_of_the_threshold(value, threshold):
    assume(value != threshold)
    text = format_against_threshold(value, threshold).replace("\N{MINUS SIGN}", "-")
    assert float(text) != threshold and (float(text) > threshold) == (value > threshold)


@pytest.mark.parametrize("text", ["same=0", "ticks=0", "said=0", "converged<0.01x0"])
def test_a_count_of_zero_is_rejected_in_the_words_of_the_policy(text):
    with pytest.raises(ValueError, match=f"^In {re.escape(text[:-1])}N, N must be at least 1: got 0.$"):
        parse(text)


def test_chart_lines_are_those_whose_crossing_stops_a_row():
    assert parse("energy<-2|certainty>0.9|same=3").chart_lines() == (("energy", -2.0), ("certainty", 0.9))
    for text in ("ticks=3", "certainty.min>0.9", "certainty>1", "energy<-2&certainty>0.9"):
        assert parse(text).chart_lines() == ()


@pytest.mark.parametrize(
    "text, is_adaptive",
    [("ticks=3", False), ("certainty>1", False), ("ticks=3|certainty>1", False), ("ticks=3|energy<0", True)],
)
def test_a_policy_knows_whether_its_ticks_depend_on_the_outputs(text, is_adaptive):
    assert parse(text).is_adaptive is is_adaptive


# --- ticks that a model does not have ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, needed",
    [
        ("ticks=80", {"ticks=80": 80}),
        ("ticks=40", {}),
        ("ticks=41", {"ticks=41": 41}),
        ("energy<-3|ticks=80", {"ticks=80": 80}),
        ("same=41", {"same=41": 41}),
        ("same=40", {}),
        ("converged<0.01x40", {"converged<0.01x40": 41}),
        ("converged<0.01x39", {}),
        ("said=50", {"said=50": 50}),
        ("ticks=5&(same=99|ticks=1234)", {"same=99": 99, "ticks=1234": 1234}),
        ("ticks=80|ticks=80", {"ticks=80": 80}),
        ("certainty>0.9", {}),
        ("change<0.1", {}),
    ],
)
def test_parts_that_need_more_ticks_than_the_model_has_are_described(text, needed):
    expected = tuple(
        f"The rule {part} needs {ticks:,} ticks, but this model has 40: no more than 40 can run."
        for part, ticks in needed.items()
    )
    assert parse(text).describe_unreachable(40) == expected


def test_a_model_of_one_tick_has_no_change():
    assert parse("change<0.1").describe_unreachable(1) == (
        "The rule change<0.1 needs 2 ticks, but this model has 1: no more than 1 can run.",
    )
    assert parse("change<[0.1,0.2]").min_ticks == 2


@pytest.mark.parametrize(
    "text, ticks",
    [
        ("ticks=5", 5),
        ("same=4", 4),
        ("converged<0.5x3", 4),
        ("ticks=3|same=5", 3),
        ("ticks=3&same=5", 5),
        ("ticks=6|(same=2&converged<0.5x4)", 5),
        ("energy<1", 1),
    ],
)
def test_a_policy_that_is_met_at_every_tick_stops_at_its_fewest_ticks(text, ticks):
    policy = parse(text)
    history = make_history(certainty=((1.0,),) * 8, energy=[0.0] * 8)
    first = next(tick for tick in range(1, 9) if bool(policy.should_halt(history.truncate(tick))))
    assert first == policy.min_ticks == ticks
