"""Tests of the choice of thresholds: the fewest ticks that keep the accuracy, on replays."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from inference.halting.policies import CertaintyAbove, ChangeBelow, EnergyBelow, FixedTicks, SameAnswer
from inference.halting.policy_parser import parse
from inference.halting.thresholds import (
    PolicySweep,
    choose_default_policy,
    choose_policies,
    choose_threshold,
    compute_quantiles,
    get_candidate_thresholds,
    replay,
    select_threshold,
    sweep,
)
from inference.tick_history import EvaluationCurves, TickHistory

TICKS = 8


def make_samples(count: int = 400, positions: int = 1) -> tuple[TickHistory, torch.Tensor]:
    """Build samples that become correct at a random tick and wrong again two ticks later; the energy indicates correctness, with noise."""
    generator = torch.Generator().manual_seed(0)
    first_correct_tick = torch.randint(1, TICKS, (count, 1), generator=generator)
    tick = torch.arange(1, TICKS + 1)
    correct = (tick >= first_correct_tick) & (tick < first_correct_tick + 2)
    noise = torch.randn(count, TICKS, generator=generator)
    energy = torch.where(correct, -4.0, 4.0) + noise
    certainty = torch.sigmoid(-energy / 4).unsqueeze(2).expand(-1, -1, positions)
    return TickHistory(certainty, torch.zeros(count, TICKS, positions, dtype=torch.long), energy), correct


def test_a_policy_more_accurate_than_any_fixed_tick_is_compared_with_its_own_accuracy():
    history, correct = make_samples()
    records = choose_policies(history, correct, tolerance=0.01)
    assert set(records) == {"certainty", "energy"}
    record = records["energy"]
    assert record["accuracy"] > record["best_fixed_accuracy"] + 0.05
    policy_replay = replay(parse(record["policy"]), history, correct)
    assert (policy_replay.accuracy, policy_replay.mean_ticks) == pytest.approx(
        (record["accuracy"], record["mean_ticks"])
    )
    assert record["n"] == 400 and record["tolerance"] == 0.01


def test_the_chosen_threshold_has_the_fewest_ticks_within_the_tolerance():
    history, correct = make_samples()
    candidates = compute_quantiles(history.energy)
    policy, accuracy, ticks = choose_threshold(EnergyBelow, candidates, history, correct, 0.02)
    replays = [replay(EnergyBelow(level), history, correct) for level in candidates]
    max_accuracy = max(each.accuracy for each in replays)
    assert accuracy >= max_accuracy - 0.02
    assert all(each.mean_ticks >= ticks for each in replays if each.accuracy >= max_accuracy - 0.02)
    earlier_policy, _, _ = choose_threshold(EnergyBelow, candidates, history, correct, 0.3)
    assert earlier_policy.threshold > policy.threshold


def make_longer_samples() -> EvaluationCurves:
    """Build samples whose energy falls two ticks before they become correct, and once more afterwards."""
    history, correct = make_samples()
    is_ahead = torch.cat((correct[:, 2:], torch.zeros(len(correct), 2, dtype=torch.bool)), 1)
    energy = torch.where(correct, -9.0, torch.where(is_ahead, -5.5, 4.0))
    zeros = torch.zeros(len(correct), dtype=torch.long)
    choices = history.choices.transpose(1, 2)
    return EvaluationCurves(
        correct, choices, torch.sigmoid(-energy / 4).unsqueeze(1), energy, zeros, zeros.unsqueeze(1)
    )


def test_thresholds_reach_the_target_on_longer_samples_as_well():
    history, correct = make_samples()
    longer = make_longer_samples()
    longer_history = TickHistory.from_curves(longer)
    alone = choose_policies(history, correct, 0.2)
    records = choose_policies(history, correct, 0.2, shifted={"longer": longer})
    for name in ("energy", "certainty"):
        before = replay(parse(alone[name]["policy"]), longer_history, longer.correct)
        after = replay(parse(records[name]["policy"]), longer_history, longer.correct)
        figures = records[name]["shifted"]["longer"]
        assert before.accuracy < 0.5 < after.accuracy
        assert figures == {
            "accuracy": pytest.approx(after.accuracy),
            "mean_ticks": pytest.approx(after.mean_ticks),
            "n": len(longer.correct),
        }
        trained = replay(parse(records[name]["policy"]), history, correct)
        assert records[name]["accuracy"] == pytest.approx(trained.accuracy)
    assert all("shifted" not in record for record in alone.values())


def test_without_a_threshold_that_reaches_both_targets_the_one_that_misses_least_is_chosen():
    def make_sweep(accuracies: list[float]) -> PolicySweep:
        correct = torch.tensor([[row < 100 * share for row in range(100)] for share in accuracies])
        ticks = torch.tensor([[3], [2], [1]]).expand(-1, 100)
        return PolicySweep([], ticks, ticks, correct)

    trained = make_sweep([0.9, 0.8, 0.7])
    longer = make_sweep([0.2, 0.5, 0.8])
    assert select_threshold([trained, longer], [0.9, 0.8]) == 2, "misses .9 by .2, the others .8 by .6 and .3"
    assert select_threshold([trained, longer], [0.8, 0.5]) == 1
    assert select_threshold([trained], [0.95]) == 0
    assert select_threshold([trained], [0.7]) == 2, "the fewest ticks of all that reach the target"


def test_the_default_policy_reaches_the_target_on_longer_samples_before_it_saves_ticks():
    def make_record(accuracy: float, longer_accuracy: float, ticks: float) -> dict[str, Any]:
        shifted = {"longer": {"accuracy": longer_accuracy, "mean_ticks": ticks, "n": 10}}
        return {"accuracy": accuracy, "mean_ticks": ticks, "tolerance": 0.01, "shifted": shifted}

    records = {"quick": make_record(0.99, 0.6, 2.0), "steady": make_record(0.985, 0.9, 5.0)}
    assert choose_default_policy(records) == "steady"
    records["slow"] = make_record(0.99, 0.905, 6.0)
    assert choose_default_policy(records) == "steady"
    for record in records.values():
        del record["shifted"]
    assert choose_default_policy(records) == "quick"


def test_no_threshold_of_any_policy_has_fewer_ticks_within_the_tolerance():
    history, correct = make_samples(positions=3)
    history = replace(history, certainty=history.certainty / 10)  # far below usual values
    certainty_levels = torch.linspace(0, 0.1, 300)
    energy_levels = EnergyBelow(0.0).sign * torch.linspace(-6, 6, 300)
    for name, make_policy, levels in (
        ("certainty", CertaintyAbove, certainty_levels),
        ("energy", EnergyBelow, energy_levels),
    ):
        record = choose_policies(history, correct, 0.02)[name]
        for level in levels:
            other = replay(make_policy(level.item()), history, correct)
            assert other.mean_ticks >= record["mean_ticks"] - 0.02 or other.accuracy <= record["accuracy"] + 0.005


def test_ctc_emissions_answer_with_the_last_tick_when_no_policy_fires():
    history, correct = make_samples()
    ctc_history = replace(history, is_ctc=True)
    assert set(ctc_history.best_tick.tolist()) == {TICKS} != set(history.best_tick.tolist())
    assert replay(parse("energy<-1e9"), ctc_history, correct).accuracy == correct[:, -1].float().mean()


def test_a_policy_without_a_score_has_one_operating_point():
    history = replace(make_samples()[0].truncate(1), signals={"change": torch.full((400, 1), torch.inf)})
    assert get_candidate_thresholds(ChangeBelow, history) == [-1e9]


@pytest.mark.parametrize("max_input_ticks", [None, 3])
def test_a_sweep_equals_the_replay_of_each_threshold(max_input_ticks):
    history, correct = make_samples(positions=2)
    if max_input_ticks:
        history = replace(history, input_ticks=torch.arange(len(correct)) % max_input_ticks)
    for make_policy, levels in (
        (EnergyBelow, [-9.0, -4.0, -1.0, 3.0, 9.0]),
        (lambda level: CertaintyAbove(level, "min"), [0.0, 0.5, 0.8, 1.0]),
        (lambda ticks: SameAnswer(int(ticks)), [1.0, 3.0, TICKS + 0.0, TICKS + 1.0]),
    ):
        policy_sweep = sweep(make_policy, levels, history, correct)
        for row, level in enumerate(levels):
            expected = replay(make_policy(level), history, correct)
            assert torch.equal(policy_sweep.ticks[row], expected.ticks)
            assert torch.equal(policy_sweep.answer_tick[row], expected.answer_tick)
            assert torch.equal(policy_sweep.correct[row], expected.correct)


def test_structured_answers_get_a_policy_on_the_minimum_over_positions():
    history, correct = make_samples(positions=3)
    assert "certainty of the least certain position" in choose_policies(history, correct, 0.01)


def test_replaying_a_fixed_tick_gives_that_ticks_accuracy():
    history, correct = make_samples()
    for tick in range(1, TICKS + 1):
        policy_replay = replay(FixedTicks(tick), history, correct)
        assert policy_replay.accuracy == pytest.approx(correct[:, tick - 1].float().mean().item())
        assert policy_replay.mean_ticks == tick


def test_candidates_are_printed_and_parsed_exactly():
    history, _ = make_samples()
    for level in compute_quantiles(history.energy):
        assert parse(str(EnergyBelow(level))) == EnergyBelow(level)
