"""Tests of the attention and the probe loss against loops over their definitions, and of their targets."""

import math
import sys

import pytest
import torch

from tests.training.test_trainer import TINY_RECIPE, load_step_weights, make_tiny_config, read_metrics
from training.auxiliary_losses import AuxiliaryTargets, FeatureProbe, StateProbe, attention_loss, record_features
from training.config import RunConfig
from training.losses import IGNORE_INDEX
from training.pace import Pace
from training.run_dir import RunDir
from training.tasks import make_task
from training.tasks.splits import TRAIN, make_generator
from training.trainer import Trainer
from training.training_loop import TrainingLoop, train

PACE = Pace(delay=2)
FRAMES = {"kind": "tracking", "side": 4, "frames": 3, "max_horizon": 1, "ood_horizon": 2, "horizon_encoding": "frames"}
TAUGHT_LOSS = {"tick_reduction": "paced", "lookahead": 2, "pace_delay": 1}
AUXILIARY = {"attention_loss_weight": 0.3, "probe_loss_weight": 1.0}
SCHEDULED_MODEL = {name: value for name, value in TINY_RECIPE["model"].items() if name != "iterations"}
QAMNIST = {"task": {"kind": "qamnist", "digits": 2, "operations": 1}, "model": SCHEDULED_MODEL}
LSTM_MODEL = {"kind": "lstm", "d_model": 8, "iterations": 4, "d_input": 8, "heads": 2}


def test_attention_loss_is_that_of_the_best_head_at_the_place_of_the_timetable():
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(3, 2, 6, 12, generator=generator).softmax(2)
    places = torch.randint(6, (3, 4), generator=generator)
    places[1, 2:] = IGNORE_INDEX
    terms = [
        -math.log(max(attention[row, head, places[row, position], tick].item() for head in range(2)))
        for row in range(3)
        for tick, position in enumerate(PACE.find_attended_positions(4, 12).tolist())
        if position >= 0 and places[row, position] != IGNORE_INDEX
    ]
    assert attention_loss(attention, places, PACE).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_attention_loss_moves_heads_that_are_sure_of_another_place():
    scores = torch.zeros(1, 2, 3, 5)
    scores[:, :, 2] = 40.0  # the weights of the other places are 4e-18
    scores.requires_grad_()
    loss = attention_loss(scores.softmax(2), torch.tensor([[0, 1, 0]]), Pace(delay=1))
    assert loss.item() == pytest.approx(40, rel=1e-3)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert (gradient.abs().amax((0, 1, 2))[:3] > 0.1).all()  # at each tick of the timetable


def test_probe_loss_stops_after_the_results_that_the_probe_reads():
    probe = StateProbe(1, 2, seed=0)
    with torch.no_grad():
        probe.linear.weight.copy_(torch.tensor([[0.0], [1.0]]))
        probe.linear.bias.zero_()
    due = PACE.compute_due_ticks(4, 12)
    activations = torch.zeros(1, 1, 12)
    activations[0, 0, due - 1] = torch.tensor([2.0, -1.0, -3.0, 1.0])
    states = torch.tensor([[1, 0, 1, 1]])  # the probe reads 1, 0, 0, 1
    losses = [math.log1p(math.exp(-2.0)), math.log1p(math.exp(-1.0)), math.log1p(math.exp(3.0))]
    assert probe(activations, AuxiliaryTargets(states), PACE, 1).item() == pytest.approx(sum(losses) / 3, rel=1e-5)
    losses.append(math.log1p(math.exp(-1.0)))
    assert probe(activations, AuxiliaryTargets(states), PACE, None).item() == pytest.approx(sum(losses) / 4, rel=1e-5)
    states[0, 2:] = IGNORE_INDEX
    assert probe(activations, AuxiliaryTargets(states), PACE, 1).item() == pytest.approx(sum(losses[:2]) / 2, rel=1e-5)


def test_feature_loss_is_the_mean_over_the_places_that_have_a_class():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 9, 5, generator=generator)  # 3 x 3 features of images of 6 x 6 pixels
    classes = torch.full((2, 6, 6), IGNORE_INDEX)
    classes[0, 1, 4], classes[0, 5, 0], classes[1, 2, 2] = 3, 1, 0
    probe = FeatureProbe(5, 4, seed=0)
    states = torch.zeros(2, 1, dtype=torch.long)
    targets = AuxiliaryTargets(states, image_shape=(6, 6), place_classes=classes.flatten(1))
    cells = [(0, (0, 2), 3), (0, (2, 0), 1), (1, (1, 1), 0)]
    terms = [-probe.linear(features[row, 3 * y + x]).log_softmax(0)[label].item() for row, (y, x), label in cells]
    assert probe(features, targets).item() == pytest.approx(sum(terms) / 3, rel=1e-5)


def test_recorded_features_are_those_that_the_model_attends_to():
    config = RunConfig.parse(TINY_RECIPE)
    model = Trainer(config).unwrapped_model
    batch = config.make_task().sample(TRAIN, 3, make_generator("features"))
    with record_features(model) as features:
        model(batch.inputs)
    assert len(features) == 1 and features[0].shape == (3, 9, 8)
    assert torch.equal(features[0], model.kv_proj(model.backbone(batch.inputs).transpose(1, 2)))
    model(batch.inputs)
    assert len(features) == 1, "nothing is recorded after the block"


@pytest.mark.parametrize("encoding", ["tokens", "signs"])
def test_targets_of_parity_are_places_and_running_parities(encoding):
    task = make_task({"kind": "parity", "length": 12, "encoding": encoding})
    batch = task.sample(TRAIN, 20, make_generator("targets"))
    targets = task.compute_auxiliary_targets(batch)
    assert isinstance(targets, AuxiliaryTargets)
    for row, length in enumerate(batch.difficulty.tolist()):
        is_one = batch.inputs[row] == (1 if encoding == "tokens" else -1)
        assert targets.places[row].tolist() == [*range(length), *[IGNORE_INDEX] * (12 - length)]
        assert targets.states[row, :length].tolist() == [int(is_one[: n + 1].sum()) % 2 for n in range(length)]
        assert (targets.states[row, length:] == IGNORE_INDEX).all()


@pytest.mark.parametrize("random_offset", [False, True])
def test_targets_of_chains_are_the_places_of_numbers_and_the_values_after_them(random_offset):
    task = make_task({"kind": "chain", "max_operations": 3, "ood_max_operations": 6, "random_offset": random_offset})
    batch = task.sample(TRAIN, 200, make_generator("targets"))
    targets = task.compute_auxiliary_targets(batch)
    starts = set()
    for row, operations in enumerate(batch.difficulty.tolist()):
        tokens = batch.inputs[row].tolist()
        end = max(place for place, token in enumerate(tokens) if token < 10) // 2
        start = end - operations
        starts.add(start)
        counted = end + 1
        assert targets.places[row].tolist() == [*range(0, 2 * counted, 2), *[IGNORE_INDEX] * (7 - counted)]
        assert all(targets.states[row, place] == 0 for place in range(start) if tokens[2 * place] >= 10)
        assert targets.states[row, start] == tokens[2 * start]
        assert targets.states[row, :counted].tolist() == batch.targets[row, :counted].tolist()
        assert (targets.states[row, counted:] == IGNORE_INDEX).all()
    assert starts == (set(range(6)) if random_offset else {0})


@pytest.mark.parametrize("split", [TRAIN, "extrapolation"])
def test_targets_of_arithmetic_are_the_digits_and_carries_of_a_sum_place_by_place(split):
    task = make_task({"kind": "arithmetic"})
    batch = task.sample(split, 200, make_generator("targets"))
    targets = task.compute_auxiliary_targets(batch)
    places = [8, 11, 7, 10, 6, 9]  # ones of the third and of the fourth number, tens, hundreds
    assert targets.places.tolist() == [places] * 200
    assert int(targets.states.min()) >= 0 and int(targets.states.max()) < task.num_states
    weights = torch.tensor([100, 10, 1])
    before, last = batch.inputs[:, 6:9] @ weights, batch.inputs[:, 9:] @ weights
    for power in range(3):
        low = 10 ** (power + 1)
        carry = (2 * (last % low) - before % low).div(low, rounding_mode="floor")
        former = (2 * (last % 10**power) - before % 10**power).div(10**power, rounding_mode="floor")
        assert torch.equal(targets.states[:, 2 * power], before // 10**power % 10 * 3 + former + 1)
        assert torch.equal(targets.states[:, 2 * power + 1], 30 + batch.targets[:, 2 - power] * 3 + carry + 1)
    assert (targets.states[:, -1] % 3 == 1).all()  # no carry remains


def test_weights_fade_linearly_to_zero_and_the_probe_is_in_no_checkpoint(tmp_path):
    config = RunConfig.parse(
        TINY_RECIPE
        | {"loss": TAUGHT_LOSS | AUXILIARY | {"auxiliary_loss_share": 0.5}}
        | {"train": TINY_RECIPE["train"] | {"log_every": 1}}
    )
    assert [config.loss.compute_auxiliary_weight(step / 12) for step in (0, 3, 6, 9)] == [1, 0.5, 0, 0]
    run_dir = RunDir(tmp_path / "run")
    assert train(config, run_dir)
    lines = {line["step"]: line for line in read_metrics(run_dir) if "loss" in line}
    assert [step for step, line in lines.items() if "probe_loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [step for step, line in lines.items() if "attention_loss" in line] == [1, 2, 3, 4, 5, 6]
    names = set(load_step_weights(run_dir, 12))
    assert names == set(Trainer(make_tiny_config()).unwrapped_model.state_dict())


def test_a_resumed_run_continues_probe_and_optimiser(tmp_path):
    config = RunConfig.parse(
        TINY_RECIPE | {"loss": TAUGHT_LOSS | AUXILIARY, "optim": TINY_RECIPE["optim"] | {"fused": True}}
    )
    whole, resumed = RunDir(tmp_path / "whole"), RunDir(tmp_path / "resumed")
    assert train(config, whole)

    class StopAtStep6(Exception):
        pass

    def stop(step):
        if step == 6:
            raise StopAtStep6

    with pytest.raises(StopAtStep6):
        train(config, resumed, on_save=stop)
    assert train(config, resumed)
    expected = load_step_weights(whole, 12)
    for name, tensor in load_step_weights(resumed, 12).items():
        assert torch.equal(tensor, expected[name]), name
    assert read_metrics(whole) == read_metrics(resumed)


def train_on_one_batch(recipe: dict, batch_size: int, num_steps: int) -> tuple[Trainer, list[dict[str, float]]]:
    """Train repeatedly on the same samples, at a constant learning rate. Return the trainer and the figures of every step."""
    trainer = Trainer(RunConfig.parse(recipe | {"train": TINY_RECIPE["train"] | {"steps": 100_000}}))
    trainer.prepare()
    batch = trainer.task.sample(TRAIN, batch_size, make_generator("one batch"))
    return trainer, [trainer.train_step(iter([batch])) for _ in range(num_steps)]


@pytest.mark.parametrize(
    ("task", "iterations", "loss"),
    [
        (TINY_RECIPE["task"], 12, TAUGHT_LOSS),
        (FRAMES, 8, {"pace_ticks": 1, "pace_delay": 2, "lookahead": 2}),
    ],
    ids=["parity", "frames"],
)
def test_the_losses_lower_themselves_on_one_batch(task, iterations, loss):
    recipe = (
        TINY_RECIPE
        | {"task": task, "model": TINY_RECIPE["model"] | {"iterations": iterations, "dropout": 0.0}}
        | {"loss": loss | AUXILIARY | {"energy_kind": "none"}, "optim": {"lr": 0.02, "warmup_steps": 0}}
    )
    _, figures = train_on_one_batch(recipe, batch_size=32, num_steps=40)
    for name in ("attention_loss", "probe_loss"):
        assert figures[-1][name] < 0.8 * figures[0][name], name


def test_the_feature_loss_lowers_itself_on_one_batch_and_its_probe_is_in_no_checkpoint(tmp_path):
    recipe = (
        TINY_RECIPE
        | {"task": {"kind": "mazes", "side": 7, "route": 4}, "model": TINY_RECIPE["model"] | {"dropout": 0.0}}
        | {"loss": {"feature_loss_weight": 1.0, "energy_kind": "none"}, "optim": {"lr": 0.01, "warmup_steps": 0}}
    )
    trainer, figures = train_on_one_batch(recipe, batch_size=16, num_steps=25)
    assert figures[-1]["feature_loss"] < 0.6 * figures[0]["feature_loss"]
    assert {"probe_loss", "attention_loss"}.isdisjoint(figures[0])
    assert list(trainer.get_probe_weights()) == ["feature.linear.weight", "feature.linear.bias"]
    assert not any("probe" in name or "feature." in name for name in trainer.unwrapped_model.state_dict())


def test_the_probe_loss_of_an_input_schedule_lowers_itself_on_one_batch():
    model = SCHEDULED_MODEL | {"dropout": 0.0, "d_model": 32}
    recipe = (
        TINY_RECIPE
        | QAMNIST
        | {"model": model, "loss": {"probe_loss_weight": 1.0, "energy_kind": "none"}}
        | {"optim": {"lr": 0.01, "warmup_steps": 0}}
    )
    _, figures = train_on_one_batch(recipe, batch_size=16, num_steps=40)
    assert figures[-1]["probe_loss"] < 0.6 * figures[0]["probe_loss"]
    assert "attention_loss" not in figures[0]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"task": FRAMES, "loss": {"early_padding": True}}, "every position of the answer, and tracking states none"),
        ({"task": {"kind": "tracking"}, "loss": AUXILIARY}, "tracking states none: set them to 0"),
        ({"task": {"kind": "brackets"}, "loss": AUXILIARY}, "brackets states none: set them to 0"),
        ({"loss": {"feature_loss_weight": 1.0}}, "parity states none: set it to 0"),
        (QAMNIST | {"loss": AUXILIARY}, "those of qamnist have none: set it to 0"),
        ({"model": LSTM_MODEL, "loss": AUXILIARY}, "need model.kind=ctm with attention"),
    ],
)
def test_recipes_that_cannot_work_are_rejected_in_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        RunConfig.parse(TINY_RECIPE | changes)


def test_the_lengths_of_answers_end_before_the_padding():
    for settings in ({"kind": "parity", "length": 12}, {"kind": "chain", "random_offset": True}):
        batch = make_task(settings).sample(TRAIN, 50, make_generator("lengths"))
        targets = make_task(settings).compute_auxiliary_targets(batch)
        for row, length in enumerate(targets.lengths.tolist()):
            assert (batch.targets[row, length:] == batch.targets[row, length - 1]).all()
            assert (targets.places[row, :length] != IGNORE_INDEX).all()


def test_early_padding_changes_the_answer_loss_alone():
    settings = TINY_RECIPE | {"loss": TAUGHT_LOSS | AUXILIARY | {"lookahead": None}}
    figures = []
    for early in (False, True):
        trainer = Trainer(RunConfig.parse(settings | {"loss": settings["loss"] | {"early_padding": early}}))
        trainer.prepare()
        figures.append(trainer.train_step(trainer.iterate_batches()))
    late, early = figures
    assert late["loss"] != early["loss"]
    assert late["attention_loss"] == early["attention_loss"]
    assert late["probe_loss"] == early["probe_loss"]


@pytest.mark.parametrize("changes", [{"task": {"kind": "brackets"}}, QAMNIST])
def test_early_padding_needs_intermediate_steps_of_every_position(changes):
    settings = TINY_RECIPE | changes
    kind = changes["task"]["kind"]
    message = (
        r"loss\.early_padding needs a task that states the intermediate steps of every position of the answer, and "
        rf"{kind} states none: set it to false"
    )
    with pytest.raises(ValueError, match=message):
        RunConfig.parse(settings | {"loss": {"early_padding": True}})
    RunConfig.parse(settings | {"loss": {"early_padding": False}})


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_stage_continues_the_probe_of_the_stage_before(is_resumed, tmp_path, monkeypatch):
    still = {"optim.lr": 1e-12, "optim.warmup_steps": 0, "train.steps": 1}
    settings = TINY_RECIPE | {"loss": TAUGHT_LOSS | AUXILIARY, "stages": [{"train.steps": 3}, still]}
    run_dir = RunDir(tmp_path / "run")
    if is_resumed:
        with monkeypatch.context() as patch:
            patch.setattr(TrainingLoop, "_start_next_stage", lambda loop: sys.exit())
            with pytest.raises(SystemExit):
                train(RunConfig.parse(settings), run_dir)
    assert train(RunConfig.parse(settings), run_dir)
    before, after = (run_dir.load_trainer_state(step)["probe"] for step in (3, 4))
    fresh = Trainer(RunConfig.parse(settings).last_stage).get_probe_weights()
    for name, weights in before.items():
        torch.testing.assert_close(after[name], weights)
        assert not torch.allclose(fresh[name], weights)


def test_a_stage_with_a_further_probe_continues_the_one_that_it_shares(tmp_path):
    still = {"optim.lr": 1e-12, "optim.warmup_steps": 0, "train.steps": 1, "loss.probe_loss_weight": 1.0}
    settings = TINY_RECIPE | {"task": {"kind": "mazes", "side": 7, "route": 4}, "loss": {"feature_loss_weight": 1.0}}
    run_dir = RunDir(tmp_path / "run")
    assert train(RunConfig.parse(settings | {"stages": [{"train.steps": 2}, still]}), run_dir)
    before, after = (run_dir.load_trainer_state(step)["probe"] for step in (2, 3))
    assert set(after) - set(before) == {"state.linear.weight", "state.linear.bias"}
    for name, tensor in before.items():
        assert torch.allclose(after[name], tensor, atol=1e-9), name


def test_a_stage_with_more_neurons_begins_with_a_new_probe(tmp_path):
    wider = {"model.d_model": 24, "train.init_mode": "expand", "train.steps": 1}
    settings = TINY_RECIPE | {"loss": TAUGHT_LOSS | AUXILIARY, "stages": [{"train.steps": 2}, wider]}
    run_dir = RunDir(tmp_path / "run")
    assert train(RunConfig.parse(settings), run_dir)
    shapes = [run_dir.load_trainer_state(step)["probe"]["state.linear.weight"].shape for step in (2, 3)]
    assert shapes[0] != shapes[1] == (2, 24)
