"""Thresholds are chosen as they say: on replays, by the fewest ticks that keep the accuracy."""

from dataclasses import replace

import pytest
import torch

from inference.halting.policies import CertaintyAbove, ChangeBelow, EnergyBelow, FixedTicks, SameAnswer
from inference.halting.policy_parser import parse
from inference.halting.thresholds import (
    choose_policies,
    choose_threshold,
    compute_quantiles,
    get_candidate_thresholds,
    replay,
    sweep,
)
from inference.tick_history import TickHistory

TICKS = 8


def make_samples(count: int = 400, positions: int = 1) -> tuple[TickHistory, torch.Tensor]:
    """Samples that become right at a tick of their own and wrong again two ticks later; energy knows it, with noise."""
    generator = torch.Generator().manual_seed(0)
    solved = torch.randint(1, TICKS, (count, 1), generator=generator)
    tick = torch.arange(1, TICKS + 1)
    right = (tick >= solved) & (tick < solved + 2)
    noise = torch.randn(count, TICKS, generator=generator)
    energy = torch.where(right, -4.0, 4.0) + noise
    certainty = torch.sigmoid(-energy / 4).unsqueeze(2).expand(-1, -1, positions)
    return TickHistory(certainty, torch.zeros(count, TICKS, positions, dtype=torch.long), energy), right


def test_a_policy_more_accurate_than_any_fixed_tick_is_compared_with_its_own_accuracy():
    history, right = make_samples()
    rules = choose_policies(history, right, tolerance=0.01)
    assert set(rules) == {"certainty", "energy"}
    energy = rules["energy"]
    assert energy["accuracy"] > energy["best_fixed_accuracy"] + 0.05
    played = replay(parse(energy["policy"]), history, right)
    assert (played.accuracy, played.mean_ticks) == pytest.approx((energy["accuracy"], energy["mean_ticks"]))
    assert energy["n"] == 400 and energy["tolerance"] == 0.01


def test_the_chosen_threshold_has_the_fewest_ticks_within_the_tolerance():
    history, right = make_samples()
    candidates = compute_quantiles(history.energy)
    policy, accuracy, ticks = choose_threshold(EnergyBelow, candidates, history, right, 0.02)
    others = [replay(EnergyBelow(level), history, right) for level in candidates]
    reach = max(other.accuracy for other in others)
    assert accuracy >= reach - 0.02
    assert all(other.mean_ticks >= ticks for other in others if other.accuracy >= reach - 0.02)
    bolder, _, _ = choose_threshold(EnergyBelow, candidates, history, right, 0.3)
    assert bolder.threshold > policy.threshold


def test_no_threshold_of_any_policy_has_fewer_ticks_within_the_tolerance():
    history, right = make_samples(positions=3)
    history = replace(history, certainty=history.certainty / 10)  # far below what is usual
    for name, make in (("certainty", CertaintyAbove), ("energy", EnergyBelow)):
        found = choose_policies(history, right, 0.02)[name]
        for level in make(0.0).sign * torch.linspace(-6, 6, 300) if name == "energy" else torch.linspace(0, 0.1, 300):
            other = replay(make(level.item()), history, right)
            assert other.mean_ticks >= found["mean_ticks"] - 0.02 or other.accuracy <= found["accuracy"] + 0.005


def test_ctc_emissions_answer_with_the_last_tick_when_no_policy_fires():
    history, right = make_samples()
    spoken = replace(history, is_ctc=True)
    assert set(spoken.best_tick.tolist()) == {TICKS} != set(history.best_tick.tolist())
    assert replay(parse("energy<-1e9"), spoken, right).accuracy == right[:, -1].float().mean()


def test_a_policy_without_a_score_has_one_operating_point():
    history = replace(make_samples()[0].truncate(1), signals={"change": torch.full((400, 1), torch.inf)})
    assert get_candidate_thresholds(ChangeBelow, history) == [-1e9]


@pytest.mark.parametrize("listening", [None, 3])
def test_many_thresholds_at_once_equal_each_threshold_alone(listening):
    history, right = make_samples(positions=2)
    if listening:
        history = replace(history, input_ticks=torch.arange(len(right)) % listening)
    for make, levels in (
        (EnergyBelow, [-9.0, -4.0, -1.0, 3.0, 9.0]),
        (lambda level: CertaintyAbove(level, "min"), [0.0, 0.5, 0.8, 1.0]),
        (lambda ticks: SameAnswer(int(ticks)), [1.0, 3.0, TICKS + 0.0, TICKS + 1.0]),
    ):
        together = sweep(make, levels, history, right)
        for row, level in enumerate(levels):
            alone = replay(make(level), history, right)
            assert torch.equal(together.ticks[row], alone.ticks)
            assert torch.equal(together.answer_tick[row], alone.answer_tick)
            assert torch.equal(together.correct[row], alone.correct)


def test_structured_answers_get_a_policy_on_the_minimum_over_positions():
    history, right = make_samples(positions=3)
    assert "certainty of the least certain position" in choose_policies(history, right, 0.01)


def test_replaying_a_fixed_tick_gives_that_ticks_accuracy():
    history, right = make_samples()
    for tick in range(1, TICKS + 1):
        played = replay(FixedTicks(tick), history, right)
        assert played.accuracy == pytest.approx(right[:, tick - 1].float().mean().item())
        assert played.mean_ticks == tick


def test_candidates_are_printed_and_read_back_exactly():
    history, _ = make_samples()
    for level in compute_quantiles(history.energy):
        assert parse(str(EnergyBelow(level))) == EnergyBelow(level)
