"""Policies print, parse, compose, and mean what they say."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ctm import TickOutput
from ctm.modules.readout import ANSWER_SIGNALS
from inference import parse
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
    st.lists(numbers, min_size=1, max_size=4).map(lambda found: PerClassThreshold(EnergyBelow(0.0), tuple(found))),
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
def test_any_text_is_read_or_rejected_with_one_sentence(text):
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
def test_nonsense_is_rejected(text):
    with pytest.raises(ValueError):
        parse(text)


def test_spaces_and_capitals_do_not_matter():
    assert parse(" Energy < 0.1 | Converged<0.01 x3") == AnyOf((EnergyBelow(0.1), EnergyConverged(0.01, 3)))


def make_history(certainty=((0.5,),), choices=None, energy=None) -> TickHistory:
    """One row; a tuple a tick."""
    certainty = torch.tensor([certainty], dtype=torch.float32)
    choices = torch.zeros_like(certainty, dtype=torch.long) if choices is None else torch.tensor([choices])
    return TickHistory(certainty, choices, None if energy is None else torch.tensor([energy]))


def test_the_mean_is_sure_of_a_half_wrong_answer_and_the_minimum_is_not():
    half = make_history(certainty=((1.0, 0.2),))
    assert bool(parse("certainty>0.5").should_halt(half))
    assert not bool(parse("certainty.min>0.5").should_halt(half))


def test_convergence_waits_for_its_patience():
    rule = parse("converged<0.1x2")
    flat = make_history(certainty=((0.5,),) * 4, energy=[3.0, 1.0, 1.05, 1.0])
    assert [bool(rule.should_halt(flat.truncate(tick))) for tick in (1, 2, 3, 4)] == [False, False, False, True]


def test_same_answer_counts_whole_answers():
    rule = parse("same=2")
    told = make_history(certainty=((0.5, 0.5),) * 3, choices=[[1, 2], [1, 3], [1, 3]])
    assert [bool(rule.should_halt(told.truncate(tick))) for tick in (1, 2, 3)] == [False, False, True]


def test_the_policy_of_the_fork_is_one_expression():
    """It halts below the threshold or when one step moves the energy by less than delta; its first tick cannot converge."""
    rule = parse("energy<0.5|converged<0.01x1")
    for energy, tick in (([0.4, 3.0], 1), ([2.0, 2.005], 2), ([2.0, 0.1], 2)):
        told = make_history(certainty=((0.5,),) * 2, energy=energy)
        fired = [bool(rule.should_halt(told.truncate(t))) for t in (1, 2)]
        assert fired.index(True) + 1 == tick


def test_energy_policies_report_a_missing_energy():
    with pytest.raises(ValueError, match="no energy head"):
        parse("energy<0").should_halt(make_history())


@pytest.mark.parametrize(
    "text, wants",
    [("energy<1", True), ("same=2", False), ("same=2|energy<1", True), ("same=2&(ticks=3|converged<1x1)", True)],
)
def test_a_policy_knows_whether_it_needs_energy(text, wants):
    assert parse(text).needs_energy is wants


def record_logits(logits) -> TickHistory:
    """What a history keeps of these logits (t, P, C), for one row."""
    kept, answers = None, torch.tensor(logits, dtype=torch.float32)
    for answer in answers:
        output = TickOutput(answer.flatten().unsqueeze(0), torch.zeros(1, answer.size(0)), None)
        kept = start_history(output, signals=frozenset(ANSWER_SIGNALS)) if kept is None else kept.append(output)
    return kept


def test_signals_are_those_of_the_least_sure_position():
    seen = record_logits([[[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[9.0, 0.0, 0.0], [0.0, 2.0, 1.0]]])
    sure = torch.tensor([0.0, 2.0, 1.0]).softmax(0)
    assert torch.allclose(seen.signals["probability"], torch.tensor([[1 / 3, sure[1]]]))
    assert torch.allclose(seen.signals["margin"], torch.tensor([[0.0, sure[1] - sure[2]]]), atol=1e-6)
    assert bool(parse("margin>0.4").should_halt(seen)) and not bool(parse("margin>0.4").should_halt(seen.truncate(1)))
    assert bool(parse("probability>0.6").should_halt(seen)) and not bool(parse("probability>0.7").should_halt(seen))


def test_change_is_the_divergence_from_the_tick_before_and_there_is_none_at_first():
    before, now = torch.tensor([1.0, 0.0]).log_softmax(0), torch.tensor([3.0, 0.0]).log_softmax(0)
    seen = record_logits([[[1.0, 0.0]], [[3.0, 0.0]], [[3.0, 0.0]]])
    divergence = F.kl_div(before, now, log_target=True, reduction="sum")  # of now from before
    assert torch.allclose(seen.signals["change"], torch.tensor([[torch.inf, divergence, 0.0]]), atol=1e-6)
    assert [bool(parse("change<0.01").should_halt(seen.truncate(tick))) for tick in (1, 2, 3)] == [False, False, True]


def test_scores_of_all_ticks_equal_those_computed_tick_by_tick():
    generator = torch.Generator().manual_seed(1)
    choices = torch.randint(2, (50, 9, 2), generator=generator)
    seen = TickHistory(torch.rand(50, 9, 2, generator=generator), choices, torch.randn(50, 9, generator=generator))
    for text in ("certainty>0.6", "certainty.min>0.4", "energy<-0.5", "same=1", "same=2", "same=3"):
        rule = parse(text)
        together = rule.score(seen) > rule.level
        assert torch.equal(
            together, torch.stack([rule.should_halt(seen.truncate(tick)) for tick in range(1, 10)], 1)
        ), text
        kept = [
            seen.truncate(tick)._map_tensors(lambda values, back=rule.lookback: values[:, -back:])
            for tick in range(1, 10)
        ]
        assert torch.equal(together, torch.stack([rule.should_halt(part) for part in kept], 1)), (
            "as much as the engine keeps"
        )
