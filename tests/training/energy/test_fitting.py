"""An energy head is fitted on held-out samples: as the mean of folds, each of which holds back some of them."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from ctm import build_model
from ctm.config import read_config
from ctm.modules.readout import make_energy_head
from training.energy.fitting import (
    NUM_FOLDS,
    CrossValidation,
    EnergyHeadDataset,
    EnergyHeadEnsemble,
    FeatureScaler,
    fit_energy_head,
    fit_logistic_regression,
    fit_platt_scaling,
    sample_fitting_batches,
    split_into_folds,
    stack_ticks,
    with_energy_head,
)
from training.energy.losses import EnergyLossParams
from training.evaluation import deduplicate
from training.tasks import make_task
from training.tasks.base import VALIDATION, make_generator

TINY_CONFIG = {
    "kind": "ctm",
    "iterations": 3,
    "d_model": 16,
    "d_input": 8,
    "heads": 2,
    "n_synch_out": 8,
    "n_synch_action": 8,
    "synapse_depth": 1,
    "memory_length": 3,
    "memory_hidden_dims": 2,
    "backbone_type": "parity_backbone",
    "out_dims": 8,
    "prediction_reshaper": [4, 2],
}
GENERATOR = torch.Generator().manual_seed(0)
SCALER = FeatureScaler(torch.tensor([1.0, -2.0, 50.0]), torch.tensor([0.1, 3.0, 7.0]))


def make_dataset(count: int = 400) -> EnergyHeadDataset:
    """Thoughts that solve what they think about, and show it beside noise; inputs of very different sizes."""
    generator = torch.Generator().manual_seed(1)
    right = torch.arange(8) >= torch.randint(1, 9, (count, 1), generator=generator)
    seen = torch.stack((right + 0.5 * torch.randn(count, 8, generator=generator), 50 * torch.ones(count, 8)), 2)
    seen[..., 1] += torch.randn(count, 8, generator=generator)
    return EnergyHeadDataset(seen, right, torch.ones_like(right), None)


def test_a_fitted_head_accepts_unscaled_inputs_of_any_size():
    felt, energies = make_dataset(), []
    for scale, shift in ((1.0, 0.0), (1000.0, -3.0)):
        torch.manual_seed(0)
        head, other = make_energy_head(2, 16), replace(felt, seen=felt.seen * scale + shift)
        spread, mean = torch.std_mean(other.seen, (0, 1))
        with torch.no_grad():  # both begin with the same head of what is standardised
            head[0].weight.div_(spread)
            head[0].bias.sub_(head[0].weight @ mean)
        fit_energy_head(head, other, "calibrated", EnergyLossParams(), 150, seed=0)
        energies.append(other.compute_energies(head, slice(None)).detach())
    assert_close(*energies, rtol=2e-3, atol=2e-3)
    assert energies[0][felt.right].mean() < energies[0][~felt.right].mean() - 2


def test_fitting_ends_when_nothing_gets_better_and_every_fold_keeps_its_best(monkeypatch):
    """Labels without any meaning: whatever is learned of them is worse on others."""
    felt = EnergyHeadDataset(torch.randn(80, 4, 6), torch.rand(80, 4) < 0.5, torch.ones(80, 4, dtype=torch.bool), None)
    monkeypatch.setattr("training.energy.fitting.EARLY_STOPPING_PATIENCE_STEPS", 100)
    measured, held_back_losses = [], CrossValidation.compute_held_out_losses
    monkeypatch.setattr(
        CrossValidation,
        "compute_held_out_losses",
        lambda *given: measured.append(held_back_losses(*given)) or measured[-1],
    )
    said = fit_energy_head(make_energy_head(6, 16), felt, "calibrated", EnergyLossParams(), 5_000, seed=0)
    assert measured[0].shape == (NUM_FOLDS,) and said["loss_before"] == measured[0].mean().item()
    assert said["loss_after"] == torch.stack(measured).amin(0).mean().item()
    assert len(measured) < 20


@pytest.mark.parametrize(("hidden", "count"), [(8, 4), (7, 3), (2, 2), (1, 1)])
def test_a_head_is_the_mean_of_its_folds_and_they_are_merged_again(hidden, count):
    head, x = make_energy_head(3, hidden), torch.randn(5, 4, 3)
    folds = EnergyHeadEnsemble(head, count, SCALER)
    assert folds(x).shape == (count, 5, 4) and folds.units.sum(0).min() >= 1
    assert_close(folds(x).mean(0), head(x).squeeze(-1), rtol=1e-4, atol=1e-4)
    folds.scale_and_shift_(torch.rand(count), torch.randn(count))
    head.load_state_dict(folds.merged_state_dict())
    assert_close(folds(x).mean(0), head(x).squeeze(-1), rtol=1e-4, atol=1e-4)


def test_one_fold_becomes_another_and_the_rest_stay_as_they_are():
    x, mine, others = torch.randn(2, 3, 3), *(EnergyHeadEnsemble(make_energy_head(3, 8), 4, SCALER) for _ in range(2))
    before = mine(x).detach()
    mine.copy_folds_(others, torch.tensor([False, True, False, True]))
    assert_close(mine(x)[1::2], others(x)[1::2])
    assert_close(mine(x)[::2], before[::2])


def test_a_fold_learns_nothing_of_what_it_holds_back():
    felt, rows, gradients = make_dataset(40), torch.arange(20), []
    held_back = split_into_folds(40, NUM_FOLDS)
    wrong_of_the_first = torch.cat((~felt.right[held_back[0]], felt.right[held_back[0].stop :]))
    for right in (felt.right, wrong_of_the_first):
        torch.manual_seed(0)
        folds = EnergyHeadEnsemble(make_energy_head(2, 8), NUM_FOLDS, FeatureScaler.fit(felt.seen))
        CrossValidation(replace(felt, right=right), held_back, "calibrated", EnergyLossParams()).compute_loss(
            folds, rows
        ).backward()
        gradients.append(folds.in_proj.weight.grad)
    assert_close(gradients[0][:2], gradients[1][:2], rtol=0, atol=0)
    assert (gradients[0][2:] != gradients[1][2:]).any(1).all()


@pytest.mark.parametrize(("count", "folds"), [(40, 4), (41, 4), (5, 4), (2, 2), (2, 1), (9, 1)])
def test_no_fold_holds_back_all_or_nothing_and_none_what_another_does(count, folds):
    parts = [list(range(count))[part] for part in split_into_folds(count, folds)]
    assert len(parts) == folds and all(0 < len(part) < count for part in parts)
    together = [row for part in parts for row in part]
    assert len({*together}) == len(together) and (folds == 1 or len(together) == count)


def test_what_was_learned_since_the_last_check_is_kept():
    said = fit_energy_head(
        make_energy_head(2, 16), make_dataset(), "calibrated", EnergyLossParams(), max_steps=30, seed=0
    )
    assert said["loss_after"] < said["loss_before"]


def test_one_sample_is_too_few():
    felt = make_dataset(1)
    with pytest.raises(ValueError, match="two samples at least, better on thousands; there is 1"):
        fit_energy_head(make_energy_head(2, 8), felt, "wait", EnergyLossParams(), 10, seed=0)


def test_samples_to_fit_on_are_in_random_order_and_always_the_same():
    task = make_task({"kind": "parity", "length": 6})
    batches, again = sample_fitting_batches(task, 300), sample_fitting_batches(task, 300)
    inputs = torch.cat([batch.inputs for batch in batches])
    assert_close(inputs, torch.cat([batch.inputs for batch in again]), rtol=0, atol=0)
    drawn = deduplicate(task.sample(VALIDATION, 300, make_generator("fit", VALIDATION))).inputs
    assert not torch.equal(inputs, drawn)
    assert {*map(tuple, inputs.flatten(1).tolist())} == {*map(tuple, drawn.flatten(1).tolist())}


def test_a_layer_for_scaled_inputs_does_the_same_to_them_as_one_for_inputs_as_they_are():
    head, x = make_energy_head(3, 5), torch.randn(4, 3)
    before = head[0](x).detach()
    layer = SCALER.unfuse_from_linear_(head[0])
    assert_close(layer((x - SCALER.mean) / SCALER.std), before, rtol=1e-4, atol=1e-4)
    assert_close(torch.nn.functional.linear(x, *SCALER.fuse_into_linear(layer)), before, rtol=1e-4, atol=1e-4)


def test_the_last_tick_of_a_shorter_unroll_is_repeated_for_missing_ticks():
    long, short = torch.rand(4, 2), torch.rand(2, 2)
    assert_close(stack_ticks(4, [long, short]), torch.stack((long, short[[0, 1, 1, 1]])))


def test_means_and_spreads_are_found_exactly_in_half_precision():
    seen = (torch.randn(600, 8, 3) * torch.tensor([1e-3, 1.0, 20.0]) + torch.tensor([0.5, -3.0, 900.0])).half()
    spread, mean = torch.std_mean(seen.double(), (0, 1), correction=0)
    found = FeatureScaler.fit(seen)
    assert found.mean.dtype == found.std.dtype == torch.float32
    assert_close(found.mean, mean.float())
    assert_close(found.std, spread.float())
    still = FeatureScaler.fit(torch.full((4, 2, 1), 7.0))
    assert still.std.item() == 1.0, "what never varies is not divided by nothing"


def test_adding_an_energy_head_that_reads_certainty_keeps_the_answers():
    blind = build_model(read_config(TINY_CONFIG, "model")).eval()
    seeing = with_energy_head(blind, force_new=False)
    assert seeing.config.energy_sees_certainty and with_energy_head(seeing, force_new=False) is seeing
    assert with_energy_head(seeing, force_new=True) is not seeing
    signs = torch.randint(2, (3, 4)).float() * 2 - 1
    before, after = blind(signs), seeing(signs)
    assert_close(after.answers, before.answers)
    assert before.energies is None and after.energies.shape == (3, 3)


def test_an_energy_is_made_a_logit_by_a_factor_and_what_is_added():
    energies = torch.randn(8_000, 1, generator=GENERATOR)
    right = torch.rand(8_000, 1, generator=GENERATOR) < torch.sigmoid(-(2.5 * energies - 1))
    counts = torch.ones_like(right)
    assert fit_platt_scaling(energies, right, counts, EnergyLossParams()) == pytest.approx((2.5, -1.0), abs=0.2)
    assert fit_platt_scaling(-energies, right, counts, EnergyLossParams()) == (1.0, 0.0), (
        "an energy that is high where answers are right"
    )


def test_what_decides_is_found_and_finite_where_nothing_does():
    inputs = torch.randn(8_000, 3, generator=GENERATOR, dtype=torch.double)
    weights = torch.tensor([2.5, -4.0, 1.0], dtype=torch.double)
    labels = (torch.rand(8_000, generator=GENERATOR, dtype=torch.double) < torch.sigmoid(inputs @ weights)).double()
    assert fit_logistic_regression(inputs, labels) == pytest.approx(weights.tolist(), abs=0.3)
    same = torch.ones(50, 3, dtype=torch.double)
    found = torch.tensor(fit_logistic_regression(same, torch.full((50,), 0.02, dtype=torch.double)))
    assert_close(torch.sigmoid(found.sum()), torch.tensor(0.02), atol=1e-3, rtol=0)


def test_waiting_means_nothing_where_it_is_in_vain():
    """Half of the thoughts never come right: little is won by going on."""
    generator = torch.Generator().manual_seed(2)
    hopeless = torch.arange(600).unsqueeze(1) % 2 == 0
    right = (torch.arange(8) >= torch.randint(2, 7, (600, 1), generator=generator)) & ~hopeless
    seen = torch.stack((right.float(), hopeless.float().expand(-1, 8)), 2)
    seen += 0.1 * torch.randn(600, 8, 2, generator=generator)
    felt = EnergyHeadDataset(seen, right, torch.ones_like(right), None)
    torch.manual_seed(0)
    head = make_energy_head(2, 16)
    fit_energy_head(head, felt, "wait", EnergyLossParams(), 300, seed=0)
    energies = felt.compute_energies(head, slice(None)).detach()
    worth_it = ~right & ~hopeless
    assert energies[right].max() < energies[worth_it].min()
    assert energies[hopeless.expand(-1, 8)].quantile(0.95) < energies[worth_it].quantile(0.05)
