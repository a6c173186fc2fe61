"""The one training loop: batch -> loss -> backward -> clip -> step -> log, save. It knows no task."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ctm import ContinuousThoughtMachine
from ctm.checkpoint import Checkpoint, load_weights
from training.config import OptimConfig, RunConfig
from training.evaluation import curves_of, summarise
from training.losses import energy_loss, is_right, per_tick, trunk_loss
from training.runs import RunFolder
from training.tasks.base import VALIDATION, Batch, Task, generator_for

ENERGY = "energy_proj."


@dataclass
class Progressing:
    """What changes while a run goes on, besides weights and optimiser."""

    step: int = 0
    best_step: int | None = None
    best_accuracy: float = -1.0


def train(
    config: RunConfig,
    folder: RunFolder,
    *,
    resume: bool = True,
    start: ContinuousThoughtMachine | None = None,
    on_save: Callable[[int], None] | None = None,
) -> bool:
    """Train until the last step, or until SIGTERM or SIGINT asks to stop; either way the last step is saved.

    Args:
        config: the run.
        folder: where it is kept. A run that is found there goes on exactly where it was saved.
        resume: False starts over.
        start: whose weights a new run begins with.
        on_save: told each step whose checkpoint was just saved.

    Returns:
        Whether all steps are done.

    Raises:
        FloatingPointError: the loss is not a number. Nothing is saved then.
    """
    accelerator = Accelerator(
        mixed_precision=config.train.mixed_precision, cpu=config.train.device == "cpu",
        gradient_accumulation_steps=config.train.accumulate,
    )  # fmt: skip
    task = config.make_task()
    machine = ContinuousThoughtMachine(config.machine(task), task.shape().in_features, config.train.seed)
    optimizer = make_optimizer(machine, config.optim)
    if start is not None:
        begin_with(machine, start)
    if accelerator.is_main_process:
        folder.begin(config)
    saved = folder.steps() if resume else []
    progress = Progressing()
    if saved:
        machine.load_state_dict(load_weights(folder.checkpoint(saved[-1]), machine.config).state_dict())
    model, optimizer = accelerator.prepare(machine, optimizer)
    set_seed(config.train.seed + accelerator.process_index)
    if saved:
        progress = restore(folder.progress(saved[-1]), optimizer, accelerator)
        folder.forget_after(progress.step)
    with stop_requests() as stopping:
        done = _loop(config, task, model, optimizer, accelerator, folder, progress, stopping, on_save)
    accelerator.end_training()
    return done


def begin_with(machine: ContinuousThoughtMachine, start: ContinuousThoughtMachine) -> None:
    """Give a new machine the weights of another; only an energy head may be new.

    Raises:
        ValueError: the two are not built alike.
    """
    mine, theirs = machine.state_dict(), start.state_dict()
    wrong = [
        f"`{name}` is {list(theirs[name].shape) if name in theirs else 'missing'} there, {list(mine[name].shape)} here"
        for name in mine
        if ENERGY not in name and (name not in theirs or theirs[name].shape != mine[name].shape)
    ]
    wrong += [f"`{name}` is there alone" for name in theirs.keys() - mine.keys() if ENERGY not in name]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"init_from does not fit this run's machine: {'; '.join(wrong[:3])}{more}.")
    fitting = {name: tensor for name, tensor in theirs.items() if name in mine and tensor.shape == mine[name].shape}
    machine.load_state_dict(fitting, strict=False)


def _loop(config, task, model, optimizer, accelerator, folder, progress, stopping, on_save) -> bool:
    settings = config.train

    def keep_now() -> None:
        keep(config, task, model, optimizer, accelerator, folder, progress)
        if on_save is not None and accelerator.is_main_process:
            on_save(progress.step)

    batches = task.batches(
        settings.batch_size, settings.seed, accelerator.process_index, progress.step * settings.accumulate
    )
    started, began_at = time.monotonic(), progress.step
    with terminal(accelerator.is_main_process, progress.step, settings.steps) as advance:
        while progress.step < settings.steps:
            if agree(stopping, accelerator):
                keep_now()
                if accelerator.is_main_process:
                    folder.say("stopped", progress.step, settings.steps)
                return False
            rate = rate_at(progress.step, settings.steps, config.optim)
            share = 1 - progress.step / settings.steps
            values = optimise(config, model, optimizer, accelerator, batches, rate, share)
            progress.step += 1
            step, last = progress.step, progress.step == settings.steps
            advance(step, values["loss"])
            if step % settings.log_every == 0 or last:
                speed = (step - began_at) / (time.monotonic() - started)
                record(accelerator, folder, "training", step, settings.steps, speed, {**values, "lr": rate})
            if step % settings.eval_every == 0 or last:
                validate(config, task, model, accelerator, folder, progress)
            if step % settings.save_every == 0 or last:
                keep_now()
    return True


def optimise(
    config: RunConfig, model, optimizer, accelerator: Accelerator, batches: Iterator[Batch], rate: float, share: float
) -> dict[str, float]:
    """One optimiser step over `accumulate` batches."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    totals: dict[str, Tensor] = {}
    model.train()
    for part in range(config.train.accumulate):
        batch = next(batches)
        accelerator.gradient_state._set_sync_gradients(part == config.train.accumulate - 1)
        loss, values = loss_of(config, model, batch, accelerator.device, share)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"The loss is {loss.item()}: training stopped, the last saved step is kept. "
                "Lower optim.lr, or set train.mixed_precision=no."
            )
        accelerator.backward(loss)
        for name, value in values.items():
            totals[name] = totals.get(name, 0) + value / config.train.accumulate
    norms = clip(accelerator, model, config.optim.clip)
    optimizer.step()
    optimizer.zero_grad()
    return {name: value.item() for name, value in totals.items()} | norms


def loss_of(
    config: RunConfig, model, batch: Batch, device: torch.device, share: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and figures to log."""
    settings = config.loss
    inputs, targets = batch.inputs.to(device), batch.targets.to(device)
    thought = model(inputs, energy_reaches_trunk=settings.energy_reaches_trunk)
    answers = thought.answers.unflatten(1, (targets.size(1), -1))
    certainty = thought.certainties[:, 1]
    losses = per_tick(answers, targets, settings.lookahead)
    trunk = trunk_loss(settings.trunk, losses, certainty, settings.mix * share)
    right = is_right(answers.detach(), targets)
    values = {"loss": trunk.detach(), "accuracy": right[:, -1].float().mean()}
    values["accuracy_certain"] = right.gather(1, certainty.argmax(1, keepdim=True)).float().mean()
    if settings.energy == "none":
        return trunk, values
    energy = energy_loss(settings.energy, thought.energies, right, settings.margin)
    values["energy_loss"] = energy.detach()
    return trunk + settings.energy_weight * energy, values


def clip(accelerator: Accelerator, model, largest: float) -> dict[str, float]:
    """Clip trunk and energy head apart: one norm over both would let a loud head starve the trunk."""
    accelerator.unscale_gradients()
    norms = {}
    for name, wanted in (("grad_norm", False), ("energy_grad_norm", True)):
        group = [p for key, p in model.named_parameters() if (ENERGY in key) == wanted and p.grad is not None]
        if group:
            norm = torch.nn.utils.clip_grad_norm_(group, largest if largest > 0 else float("inf"))
            norms[name] = norm.item()
    return norms


def make_optimizer(machine: ContinuousThoughtMachine, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only."""
    matrices = [p for p in machine.parameters() if p.dim() > 1]
    vectors = [p for p in machine.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr)


def rate_at(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate of a step: linear warm-up, then a cosine to `final_lr` of the highest rate."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    along = (step - config.warmup) / max(1, steps - config.warmup)
    cosine = 0.5 * (1 + torch.cos(torch.tensor(along * torch.pi)).item())
    return config.lr * (config.final_lr + (1 - config.final_lr) * cosine)


def validate(config, task: Task, model, accelerator: Accelerator, folder: RunFolder, progress: Progressing) -> None:
    """Measure on validation samples that stay the same all run long."""
    if not accelerator.is_main_process:
        return
    batch = task.draw(VALIDATION, config.train.eval_samples, generator_for("evaluation", config.train.seed))
    machine = accelerator.unwrap_model(model)
    curves = curves_of(machine, [batch])
    values = {f"validation_{name}": value for name, value in summarise(curves).items()}
    folder.log({"step": progress.step, **values})
    accuracy = values["validation_accuracy_best"]
    if accuracy >= progress.best_accuracy:
        progress.best_step, progress.best_accuracy = progress.step, accuracy


def keep(
    config, task: Task, model, optimizer, accelerator: Accelerator, folder: RunFolder, progress: Progressing
) -> None:
    """Save weights, and all that going on exactly from here needs."""
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        machine = accelerator.unwrap_model(model)
        state = {"loop": vars(progress).copy(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda_random"] = torch.cuda.get_rng_state_all()
        if accelerator.scaler is not None:
            state["scaler"] = accelerator.scaler.state_dict()
        halting = {"energy": energy_note(config)} if config.loss.energy != "none" else {}
        folder.save(progress.step, Checkpoint(machine, task.describe(), halting), state)
        folder.prune(config.train.keep, progress.best_step)
    accelerator.wait_for_everyone()


def restore(state: dict[str, Any], optimizer, accelerator: Accelerator) -> Progressing:
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if "cuda_random" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_random"])
    if "scaler" in state and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    return Progressing(**state["loop"])


def energy_note(config: RunConfig) -> dict[str, Any]:
    """What the energy of a checkpoint means, for `halting.json`."""
    if config.loss.energy == "contrastive":
        return {"kind": "contrastive", "margin": config.loss.margin, "p_correct": "1 - energy / margin"}
    return {"kind": "calibrated", "p_correct": "1 / (1 + exp(energy))"}


def record(accelerator, folder: RunFolder, phase: str, step: int, steps: int, speed: float, values: dict) -> None:
    if accelerator.is_main_process:
        folder.log({"step": step, "steps_per_second": speed, **values})
        folder.say(phase, step, steps, steps_per_second=speed)


def agree(stopping: list[int], accelerator: Accelerator) -> bool:
    """Whether any process was asked to stop."""
    if accelerator.num_processes == 1:
        return bool(stopping)
    if stopping:
        accelerator.set_trigger()
    return accelerator.check_trigger()


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Turn SIGTERM and SIGINT into an entry of a list; a second one acts as usual."""
    caught: list[int] = []

    def note(number, frame):
        caught.append(number)
        signal.signal(number, before[number])

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminal(shown: bool, step: int, steps: int):
    """A progress bar on the terminal; gives a function (step, loss)."""
    columns = [
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, disable=not shown) as bar:
        job = bar.add_task("training", total=steps, completed=step, loss="")
        yield lambda step, loss: bar.update(job, completed=step, loss=f"loss {loss:.4f}")
