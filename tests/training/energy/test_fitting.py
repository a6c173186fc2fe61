"""Tests of fitting an energy head on held-out samples, as the mean of cross-validation folds."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from ctm import build_model
from ctm.config import read_config
from ctm.modules.readout import make_energy_head
from training.energy.ensemble import EnergyHeadEnsemble, FeatureScaler
from training.energy.features import EnergyHeadDataset, sample_fitting_batches, stack_ticks
from training.energy.fitting import NUM_FOLDS, CrossValidation, fit_energy_head, split_into_folds, with_energy_head
from training.energy.logistic_regression import fit_logistic_regression, fit_platt_scaling
from training.energy.losses import EnergyLossParams
from training.evaluation import deduplicate
from training.tasks import make_task
from training.tasks.chain import PAD_TOKEN
from training.tasks.splits import VALIDATION, is_in_split, make_generator

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
    """Build unrolls that become correct; one feature depends on correctness, the other is noise of a larger scale."""
    generator = torch.Generator().manual_seed(1)
    correct = torch.arange(8) >= torch.randint(1, 9, (count, 1), generator=generator)
    features = torch.stack((correct + 0.5 * torch.randn(count, 8, generator=generator), 50 * torch.ones(count, 8)), 2)
    features[..., 1] += torch.randn(count, 8, generator=generator)
    return EnergyHeadDataset(features, correct, torch.ones_like(correct), None)


def test_fitted_energies_do_not_depend_on_the_scale_of_the_features():
    dataset = make_dataset()
    energies = []
    for scale, shift in ((1.0, 0.0), (1000.0, -3.0)):
        torch.manual_seed(0)
        head = make_energy_head(2, 16)
        scaled = replace(dataset, features=dataset.features * scale + shift)
        std, mean = torch.std_mean(scaled.features, (0, 1))
        with torch.no_grad():  # both start with the same head for standardised inputs
            head[0].weight.div_(std)
            head[0].bias.sub_(head[0].weight @ mean)
        fit_energy_head(head, scaled, "calibrated", EnergyLossParams(), 150, seed=0)
        energies.append(scaled.compute_energies(head, slice(None)).detach())
    assert_close(*energies, rtol=2e-3, atol=2e-3)
    assert energies[0][dataset.correct].mean() < energies[0][~dataset.correct].mean() - 2


def test_fitting_stops_early_and_keeps_the_best_weights_of_every_fold(monkeypatch):
    """The labels are random, so the loss on held-out samples increases during the training."""
    dataset = EnergyHeadDataset(
        torch.randn(80, 4, 6), torch.rand(80, 4) < 0.5, torch.ones(80, 4, dtype=torch.bool), None
    )
    monkeypatch.setattr("training.energy.fitting.EARLY_STOPPING_PATIENCE_STEPS", 100)
    losses = []
    compute_losses = CrossValidation.compute_held_out_losses
    monkeypatch.setattr(
        CrossValidation,
        "compute_held_out_losses",
        lambda *args: losses.append(compute_losses(*args)) or losses[-1],
    )
    metrics = fit_energy_head(make_energy_head(6, 16), dataset, "calibrated", EnergyLossParams(), 5_000, seed=0)
    assert losses[0].shape == (NUM_FOLDS,) and metrics["loss_before"] == losses[0].mean().item()
    assert metrics["loss_after"] == torch.stack(losses).amin(0).mean().item()
    assert len(losses) < 20


@pytest.mark.parametrize(("hidden", "count"), [(8, 4), (7, 3), (2, 2), (1, 1)])
def test_ensemble_mean_equals_its_head_before_and_after_the_merge(hidden, count):
    head = make_energy_head(3, hidden)
    x = torch.randn(5, 4, 3)
    ensemble = EnergyHeadEnsemble(head, count, SCALER)
    assert ensemble(x).shape == (count, 5, 4) and ensemble.units.sum(0).min() >= 1
    assert_close(ensemble(x).mean(0), head(x).squeeze(-1), rtol=1e-4, atol=1e-4)
    ensemble.scale_and_shift_(torch.rand(count), torch.randn(count))
    head.load_state_dict(ensemble.merged_state_dict())
    assert_close(ensemble(x).mean(0), head(x).squeeze(-1), rtol=1e-4, atol=1e-4)


def test_copying_folds_changes_only_the_selected_ones():
    x = torch.randn(2, 3, 3)
    target, source = (EnergyHeadEnsemble(make_energy_head(3, 8), 4, SCALER) for _ in range(2))
    before = target(x).detach()
    target.copy_folds_(source, torch.tensor([False, True, False, True]))
    assert_close(target(x)[1::2], source(x)[1::2])
    assert_close(target(x)[::2], before[::2])


def test_fold_does_not_train_on_its_held_out_samples():
    dataset = make_dataset(40)
    rows = torch.arange(20)
    gradients = []
    held_out = split_into_folds(40, NUM_FOLDS)
    changed_labels = torch.cat((~dataset.correct[held_out[0]], dataset.correct[held_out[0].stop :]))
    for correct in (dataset.correct, changed_labels):
        torch.manual_seed(0)
        ensemble = EnergyHeadEnsemble(make_energy_head(2, 8), NUM_FOLDS, FeatureScaler.fit(dataset.features))
        CrossValidation(replace(dataset, correct=correct), held_out, "calibrated", EnergyLossParams()).compute_loss(
            ensemble, rows
        ).backward()
        gradients.append(ensemble.in_proj.weight.grad)
    assert_close(gradients[0][:2], gradients[1][:2], rtol=0, atol=0)
    assert (gradients[0][2:] != gradients[1][2:]).any(1).all()


@pytest.mark.parametrize(("count", "folds"), [(40, 4), (41, 4), (5, 4), (2, 2), (2, 1), (9, 1)])
def test_held_out_slices_are_disjoint_and_contain_neither_all_nor_no_samples(count, folds):
    parts = [list(range(count))[part] for part in split_into_folds(count, folds)]
    assert len(parts) == folds and all(0 < len(part) < count for part in parts)
    rows = [row for part in parts for row in part]
    assert len({*rows}) == len(rows) and (folds == 1 or len(rows) == count)


def test_weights_of_the_last_step_are_evaluated():
    metrics = fit_energy_head(
        make_energy_head(2, 16), make_dataset(), "calibrated", EnergyLossParams(), max_steps=30, seed=0
    )
    assert metrics["loss_after"] < metrics["loss_before"]


def test_fitting_on_one_sample_is_an_error():
    dataset = make_dataset(1)
    with pytest.raises(ValueError, match="two samples at least, better on thousands; there is 1"):
        fit_energy_head(make_energy_head(2, 8), dataset, "wait", EnergyLossParams(), 10, seed=0)


def test_fitting_samples_are_in_random_order_and_reproducible():
    task = make_task({"kind": "parity", "length": 6})
    batches = sample_fitting_batches(task, 300)
    second_batches = sample_fitting_batches(task, 300)
    inputs = torch.cat([batch.inputs for batch in batches])
    assert_close(inputs, torch.cat([batch.inputs for batch in second_batches]), rtol=0, atol=0)
    unshuffled = deduplicate(task.sample(VALIDATION, 300, make_generator("fit", VALIDATION))).inputs
    assert not torch.equal(inputs, unshuffled)
    assert {*map(tuple, inputs.flatten(1).tolist())} == {*map(tuple, unshuffled.flatten(1).tolist())}


def test_energy_is_fitted_on_longer_inputs_as_well_that_belong_to_the_validation_split():
    task = make_task({"kind": "chain", "max_operations": 2, "ood_max_operations": 4, "random_offset": True})
    inputs = torch.cat([batch.inputs for batch in sample_fitting_batches(task, 300)])
    operations = Counter(((inputs != PAD_TOKEN).sum(1) // 2).tolist())
    assert set(operations) == {1, 2, 3, 4}
    assert 100 < operations[3] + operations[4] <= 150, "half as many draws as of the trained lengths"
    assert is_in_split(VALIDATION, "chain", inputs).all()
    without_random_start = make_task({"kind": "chain", "max_operations": 2, "ood_max_operations": 4})
    assert max(batch.difficulty.max() for batch in sample_fitting_batches(without_random_start, 300)) == 2


def test_layer_for_scaled_inputs_equals_the_layer_for_unscaled_inputs():
    head = make_energy_head(3, 5)
    x = torch.randn(4, 3)
    before = head[0](x).detach()
    layer = SCALER.unfuse_from_linear_(head[0])
    assert_close(layer((x - SCALER.mean) / SCALER.std), before, rtol=1e-4, atol=1e-4)
    assert_close(torch.nn.functional.linear(x, *SCALER.fuse_into_linear(layer)), before, rtol=1e-4, atol=1e-4)


def test_the_last_tick_of_a_shorter_unroll_is_repeated_for_missing_ticks():
    long = torch.rand(4, 2)
    short = torch.rand(2, 2)
    assert_close(stack_ticks(4, [long, short]), torch.stack((long, short[[0, 1, 1, 1]])))


def test_mean_and_std_of_half_precision_features_are_exact():
    features = (torch.randn(600, 8, 3) * torch.tensor([1e-3, 1.0, 20.0]) + torch.tensor([0.5, -3.0, 900.0])).half()
    std, mean = torch.std_mean(features.double(), (0, 1), correction=0)
    scaler = FeatureScaler.fit(features)
    assert scaler.mean.dtype == scaler.std.dtype == torch.float32
    assert_close(scaler.mean, mean.float())
    assert_close(scaler.std, std.float())
    constant = FeatureScaler.fit(torch.full((4, 2, 1), 7.0))
    assert constant.std.item() == 1.0, "a constant feature is not divided by zero"


def test_adding_an_energy_head_that_reads_certainty_keeps_the_answers():
    model = build_model(read_config(TINY_CONFIG, "model")).eval()
    new_model = with_energy_head(model, force_new=False)
    assert new_model.config.energy_sees_certainty and with_energy_head(new_model, force_new=False) is new_model
    assert with_energy_head(new_model, force_new=True) is not new_model
    signs = torch.randint(2, (3, 4)).float() * 2 - 1
    before = model(signs)
    after = new_model(signs)
    assert_close(after.answers, before.answers)
    assert before.energies is None and after.energies.shape == (3, 3)


def test_platt_scaling_recovers_the_scale_and_shift_of_a_logit():
    energies = torch.randn(8_000, 1, generator=GENERATOR)
    correct = torch.rand(8_000, 1, generator=GENERATOR) < torch.sigmoid(-(2.5 * energies - 1))
    answer_mask = torch.ones_like(correct)
    assert fit_platt_scaling(energies, correct, answer_mask, EnergyLossParams()) == pytest.approx((2.5, -1.0), abs=0.2)
    assert fit_platt_scaling(-energies, correct, answer_mask, EnergyLossParams()) == (1.0, 0.0), (
        "an energy that is high where answers are correct does not change"
    )


def test_logistic_regression_recovers_weights_and_is_finite_without_information():
    inputs = torch.randn(8_000, 3, generator=GENERATOR, dtype=torch.double)
    weights = torch.tensor([2.5, -4.0, 1.0], dtype=torch.double)
    labels = (torch.rand(8_000, generator=GENERATOR, dtype=torch.double) < torch.sigmoid(inputs @ weights)).double()
    assert fit_logistic_regression(inputs, labels) == pytest.approx(weights.tolist(), abs=0.3)
    constant_inputs = torch.ones(50, 3, dtype=torch.double)
    weights = torch.tensor(fit_logistic_regression(constant_inputs, torch.full((50,), 0.02, dtype=torch.double)))
    assert_close(torch.sigmoid(weights.sum()), torch.tensor(0.02), atol=1e-3, rtol=0)


def test_wait_energy_is_low_where_later_ticks_are_not_correct():
    """Half of the unrolls never become correct, so further ticks gain nothing."""
    generator = torch.Generator().manual_seed(2)
    is_unsolvable = torch.arange(600).unsqueeze(1) % 2 == 0
    correct = (torch.arange(8) >= torch.randint(2, 7, (600, 1), generator=generator)) & ~is_unsolvable
    features = torch.stack((correct.float(), is_unsolvable.float().expand(-1, 8)), 2)
    features += 0.1 * torch.randn(600, 8, 2, generator=generator)
    dataset = EnergyHeadDataset(features, correct, torch.ones_like(correct), None)
    torch.manual_seed(0)
    head = make_energy_head(2, 16)
    fit_energy_head(head, dataset, "wait", EnergyLossParams(), 300, seed=0)
    energies = dataset.compute_energies(head, slice(None)).detach()
    is_worthwhile = ~correct & ~is_unsolvable
    assert energies[correct].max() < energies[is_worthwhile].min()
    assert energies[is_unsolvable.expand(-1, 8)].quantile(0.95) < energies[is_worthwhile].quantile(0.05)
