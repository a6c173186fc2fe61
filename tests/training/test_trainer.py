"""The loop: stopped and resumed equals straight through; a signal saves; NaN does not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.testing import assert_close

from ctm.checkpoint import load
from tests.paths import ROOT
from training import decoding, trainer
from training.config import RunConfig, read_recipe
from training.run_dir import RunFolder
from training.trainer import rate_at, train

TINY = {
    "task": {"kind": "parity", "length": 9},
    "model": {
        "iterations": 4,
        "d_model": 16,
        "d_input": 8,
        "heads": 2,
        "n_synch_out": 8,
        "n_synch_action": 8,
        "synapse_depth": 1,
        "memory_length": 3,
        "memory_hidden_dims": 2,
        "dropout": 0.1,
    },
    "optim": {"warmup": 3, "lr": 3e-3},
    "train": {
        "steps": 12,
        "batch_size": 8,
        "log_every": 2,
        "eval_every": 4,
        "eval_samples": 30,
        "save_every": 6,
        "device": "cpu",
    },
}


def tiny(**train_settings) -> RunConfig:
    return RunConfig.parse(TINY | {"train": TINY["train"] | train_settings})


def weights(folder: RunFolder, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder.checkpoint(step) / "model.safetensors")


def figures(folder: RunFolder) -> list[dict]:
    """What was logged, without what depends on the machine."""
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return [{key: line[key] for key in line.keys() - {"steps_per_second", "memory_gb"}} for line in lines]


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    """Parameters and metrics, with dropout and accumulation, stopped by SIGTERM between two saved steps."""
    config = tiny(accumulate=2)
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    assert train(config, straight)

    log = RunFolder.log

    def stop_at_8(self, values):
        log(self, values)
        if values["step"] == 8 and "loss" in values:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunFolder, "log", stop_at_8)
    assert not train(config, broken)
    monkeypatch.undo()
    assert broken.steps()[-1] == 8 and broken.status()["phase"] == "stopped"
    assert train(config, broken)

    ours, theirs = weights(broken, 12), weights(straight, 12)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert figures(broken) == figures(straight)


@pytest.mark.parametrize("kind", ["lstm", "ff"])
def test_baselines_learn_and_go_on_exactly_as_they_would_have(kind, tmp_path):
    model = {"kind": kind, "d_model": 16, "dropout": 0.1}
    model |= {"iterations": 3, "d_input": 8, "heads": 2, "num_layers": 2} if kind == "lstm" else {}
    config = RunConfig.parse(TINY | {"task": {"kind": "parity", "length": 2}, "model": model}).changed(
        {"train.steps": 60, "train.save_every": 30, "train.batch_size": 32, "train.eval_every": 60, "optim.lr": 0.02}
    )
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    assert train(config, straight)
    losses = [line["loss"] for line in figures(straight) if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]
    shutil.copytree(straight.path, broken.path)
    shutil.rmtree(broken.checkpoint(60).parent / broken.checkpoint(60).name)
    assert broken.steps() == [30] and train(config, broken)
    ours, theirs = weights(broken, 60), weights(straight, 60)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_task_that_needs_a_machine_says_so():
    values = {"task": {"kind": "sorting"}, "model": {"kind": "ff", "d_model": 8}}
    with pytest.raises(ValueError, match=r"The task sorting needs model.heads, which model.kind=ff does not have"):
        RunConfig.parse(values)


def test_a_second_request_to_stop_does_not_break_the_save_off(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    log, save = RunFolder.log, RunFolder.save

    def ask(self, values):
        log(self, values)
        os.kill(os.getpid(), signal.SIGTERM)

    def save_slowly(self, *given):
        os.kill(os.getpid(), signal.SIGTERM)
        save(self, *given)

    monkeypatch.setattr(RunFolder, "log", ask)
    monkeypatch.setattr(RunFolder, "save", save_slowly)
    assert not train(tiny(), folder)
    assert folder.steps() == [2]


def test_the_best_step_that_was_saved_is_kept(tmp_path, monkeypatch):
    """Evaluations fall between two saves: what was measured last before a save counts for it."""
    accuracies = iter([0.2, 0.9, 0.1, 0.1, 0.1, 0.1])
    monkeypatch.setattr(trainer, "summarise", lambda curves: {"accuracy_best": next(accuracies)})
    folder = RunFolder(tmp_path / "run")
    train(tiny(steps=24, eval_every=4, save_every=5, keep=1), folder)
    assert folder.steps() == [10, 24]


def test_starting_over_leaves_nothing_of_before(tmp_path, monkeypatch):
    """Stopped soon after: going on must not find the steps of the run before."""
    folder, config = RunFolder(tmp_path / "run"), tiny(save_every=4, keep=9)
    train(config, folder)
    assert folder.steps() == [4, 8, 12]
    log = RunFolder.log
    monkeypatch.setattr(
        RunFolder, "log", lambda self, values: (log(self, values), os.kill(os.getpid(), signal.SIGTERM))
    )
    train(config, folder, resume=False)
    assert folder.steps() == [2] and [line["step"] for line in figures(folder)] == [2]


def test_going_on_from_nothing_forgets_what_was_logged(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    save = RunFolder.save
    monkeypatch.setattr(RunFolder, "save", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(tiny(), folder)
    monkeypatch.setattr(RunFolder, "save", save)
    train(tiny(), folder)
    assert [line["step"] for line in figures(folder) if "loss" in line] == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("content", [b"", b"torn", None])
def test_a_newest_step_that_cannot_be_read_gives_way_to_the_one_before(tmp_path, content):
    config = tiny()
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    train(config, straight)
    train(config, broken)
    path = broken.trainer(12) / "progress.pt"
    path.write_bytes(content if content is not None else path.read_bytes()[:-100])
    assert train(config, broken)
    assert all(torch.equal(weights(broken, 12)[name], value) for name, value in weights(straight, 12).items())


def test_a_run_none_of_whose_steps_can_be_read_says_so(tmp_path):
    folder = RunFolder(tmp_path / "run")
    train(tiny(), folder)
    for step in folder.steps():
        (folder.trainer(step) / "progress.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot go on: step 6 cannot be read"):
        train(tiny(), folder)


def test_a_crash_loses_only_what_came_after_the_last_saved_step(tmp_path, monkeypatch):
    config = tiny()
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    train(config, straight)

    log = RunFolder.log

    def crash(self, values):
        log(self, values)
        if values["step"] == 10:
            with self.metrics.open("a") as file:
                file.write('{"step": 10, "cut o')
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "log", crash)
    with pytest.raises(KeyboardInterrupt):
        train(config, broken)
    monkeypatch.undo()
    assert broken.steps() == [6]
    train(config, broken)
    assert all(
        torch.equal(a, b) for a, b in zip(weights(broken, 12).values(), weights(straight, 12).values(), strict=True)
    )
    assert figures(broken) == figures(straight)


def test_a_frozen_core_carries_over_to_another_task(tmp_path):
    """What thinks is taken from one machine and stays as it is; what sees, looks and answers learns anew."""
    parity, brackets = RunFolder(tmp_path / "parity"), RunFolder(tmp_path / "brackets")
    train(tiny(steps=2), parity)
    start = load(parity.checkpoint(2)).model
    moved = tiny(steps=6, takes="core", frozen="core").model_copy(update={"task": {"kind": "brackets", "length": 6}})
    train(moved, brackets, start=start)
    before, after = start.state_dict(), weights(brackets, 6)
    core = {name for name in after if name.startswith(("start_", "synapses.", "trace_processor.")) or "indices" in name}
    assert all(torch.equal(before[name], after[name]) for name in core) and len(core) > 10
    learned = trainer.assemble(moved)[2].state_dict()
    assert not any(torch.equal(learned[name], after[name]) for name in after.keys() - core if "bias" in name)


def test_what_fits_is_taken_over_by_a_machine_of_another_size(tmp_path):
    start = trainer.assemble(tiny())[2]
    wide = trainer.assemble(tiny().model_copy(update={"model": TINY["model"] | {"n_synch_out": 12}}))[2]
    trainer.begin_with(wide, start, "fitting")
    mine, theirs = wide.state_dict(), start.state_dict()
    assert torch.equal(mine["start_trace"], theirs["start_trace"]) and len(mine["out_neuron_indices_left"]) == 12
    other = trainer.assemble(RunConfig.parse(TINY | {"model": {"kind": "ff", "d_model": 5}}))[2]
    with pytest.raises(ValueError, match="init_from does not fit"):
        trainer.begin_with(wide, other, "all")


def test_a_machine_that_grew_does_at_first_what_it_did_when_it_was_small():
    """Longer rows: the places it knows, and the answers for them, are its first ones."""
    start, longer = (
        trainer.assemble(tiny().model_copy(update={"task": {"kind": "parity", "length": length}}))[2].eval()
        for length in (8, 12)
    )
    small, large = start.state_dict(), longer.state_dict()
    places, answers = large["backbone.positions"].clone(), large["output_projector.0.weight"].clone()
    trainer.begin_with(longer, start, "grown")
    rows = torch.randint(3, (4, 8))
    with torch.no_grad():
        assert_close(longer(rows).answers[:, :16], start(rows).answers)
    now = longer.state_dict()
    assert torch.equal(now["backbone.positions"][:, 8:], places[:, 8:]), "others are as a new machine has them"
    assert torch.equal(now["output_projector.0.weight"][16:], answers[16:])
    trainer.begin_with(start, longer, "grown")
    assert all(torch.equal(small[name], value) for name, value in start.state_dict().items()), "nothing is cut off"


def test_a_loss_that_is_not_a_number_stops_before_it_is_saved(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    config = tiny()
    count, real = iter(range(100)), decoding.trunk_loss
    monkeypatch.setattr(decoding, "trunk_loss", lambda *args: real(*args) * (float("nan") if next(count) == 8 else 1))
    with pytest.raises(FloatingPointError, match=r"Lower optim\.lr"):
        train(config, folder)
    assert folder.steps() == [6]
    assert all(torch.isfinite(value).all() for value in weights(folder, 6).values() if value.is_floating_point())


def test_sigterm_ends_the_program_with_a_saved_step_and_code_0(tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY | {"train": TINY["train"] | {"steps": 1_000_000, "save_every": 1_000_000}}))
    run = tmp_path / "run"
    command = [sys.executable, "-m", "training", "train", str(recipe), "--folder", str(run)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 0, said
    assert "Stopped and saved" in said and len(RunFolder(run).steps()) == 1


@pytest.mark.slow
def test_accelerates_launcher_starts_the_same_command(tmp_path):
    """Several processes: see test_ranks.py."""
    recipe, run = tmp_path / "tiny.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(TINY | {"finish": {"fit_samples": 0}}))
    launcher = [
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "-m",
    ]
    command = [sys.executable, "-m", *launcher, "training", "train", str(recipe), "--folder", str(run), "train.steps=6"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = RunFolder(run)
    assert folder.steps() == [6] and folder.status()["phase"] == "finished"
    assert [line["step"] for line in figures(folder) if "loss" in line] == [2, 4, 6]


def test_only_the_newest_and_the_best_steps_are_kept(tmp_path):
    folder = RunFolder(tmp_path / "run")
    train(tiny(steps=10, save_every=1, eval_every=2, keep=2), folder)
    steps = folder.steps()
    assert steps[-2:] == [9, 10] and len(steps) <= 3
    assert len(list((folder.path / "trainer").iterdir())) == len(steps)


def test_a_run_folder_of_other_settings_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    train(tiny(steps=2), folder)
    with pytest.raises(ValueError, match="other settings"):
        train(tiny(steps=3), folder)


def test_the_rate_warms_up_and_falls_to_its_share():
    config = tiny().optim
    rates = [rate_at(step, 100, config) for step in range(100)]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(config.lr)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(config.lr * config.final_lr, rel=0.1)


@pytest.mark.parametrize(
    "override, says",
    [
        ("train.stps=5", "did you mean `steps`"),
        ("train.steps=0", "train.steps"),
        ("model.d_modle=5", "d_model"),
        ("model.out_dims=5", "follows from the task"),
        ("task.kind=chess", "task.kind"),
        ("steps=5", "group.setting=value"),
        ("train.steps", "group.setting=value"),
        ("train.steps.x=1", "not a group"),
        ("loss.energy=magic", "loss.energy"),
        ("optim.lr=.inf", "optim.lr"),
        ("task.length=999", "length"),
        ("model.heads=3", "multiple of heads"),
    ],
)
def test_wrong_settings_get_a_sentence_with_the_near_miss(tmp_path, override, says):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump(TINY))
    with pytest.raises(ValueError, match=says.replace(".", r"\.")):
        read_recipe(recipe, [override])


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "task: [", "just words"])
def test_a_recipe_that_is_none_is_refused(tmp_path, content):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(content)
    with pytest.raises(ValueError):
        read_recipe(recipe)
