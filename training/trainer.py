"""The training loop: batch, loss, backward pass, clipping, optimiser step, then logs, evaluations and saved steps.

The loop is the same for every task: the task gives batches and a decoder, the decoder gives the loss.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from math import isfinite
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ctm import TickModel, build_model
from ctm.models.outputs import compute_answer_mask
from training.config import OptimConfig, RunConfig
from training.decoding import AnswerDecoder
from training.energy.losses import ENERGY_HEAD_PREFIX, TickLabels, confident_energy_threshold, energy_loss
from training.evaluation import evaluate_curves
from training.metrics import compute_validation_metrics, summarise_curves
from training.run_dir import RunDir
from training.signals import catch_stop_signals
from training.tasks.base import Batch, Task
from training.tasks.splits import VALIDATION, make_generator
from training.trainer_state import (
    TrainerState,
    check_free_disk,
    estimate_checkpoint_bytes,
    get_rng_state,
    load_latest_state,
    measure_memory,
    save_step,
    set_rng_state,
)
from training.weight_transfer import freeze_parameters, load_initial_weights


def train(
    config: RunConfig,
    run_dir: RunDir,
    *,
    resume: bool = True,
    init_model: TickModel | None = None,
    on_save: Callable[[int], None] | None = None,
) -> bool:
    """Train until the last step, a stop request (SIGTERM, SIGINT) or the time limit, and save the step that is reached.

    A resumed run continues exactly where it was saved: the same weights, optimiser state, random state and batches.

    Args:
        config: settings of the run.
        run_dir: its run directory.
        resume: False deletes what an earlier training saved there, and starts over.
        init_model: a new run starts with the weights of this model.
        on_save: called with each step whose checkpoint was just saved.

    Returns:
        Whether all steps are done.

    Raises:
        FloatingPointError: the loss or a gradient norm is not finite; this step is not saved.
        OSError: the disk is almost full (`ENOSPC`).
        ValueError: saved steps cannot be read, or the settings do not fit the run directory or the number of processes.
    """
    accelerator, task, bare_model, optimizer = assemble(config)
    if init_model is not None:
        load_initial_weights(bare_model, init_model, config.train.init_mode)
    state = None
    if accelerator.is_main_process:  # other processes may run on hosts without the run directory
        run_dir.initialize(config)
        check_free_disk(
            run_dir, estimate_checkpoint_bytes(bare_model), config.train.min_free_disk_gb, "nothing was trained"
        )
        if not resume:
            run_dir.delete_checkpoints()
        state = load_latest_state(run_dir, bare_model)
    state = broadcast_object_list([state])[0]
    model, optimizer = accelerator.prepare(bare_model, optimizer)  # copies the weights of rank 0 to all processes
    set_seed(config.train.seed + accelerator.process_index)
    trainer_state = restore_state(state, optimizer, accelerator) if state else TrainerState()
    if accelerator.is_main_process:
        run_dir.truncate_metrics(trainer_state.step)
    with catch_stop_signals() as stop_signals:
        is_complete = _run_loop(
            config, task, model, optimizer, accelerator, run_dir, trainer_state, stop_signals, on_save
        )
    accelerator.end_training()
    return is_complete


def assemble(
    config: RunConfig,
) -> tuple[Accelerator, Task, TickModel, torch.optim.Optimizer]:
    """Build accelerator, task, model and optimiser of a run; the model is still on the CPU.

    Raises:
        ValueError: a launcher started several processes that do not form one process group.
    """
    accelerator = Accelerator(
        mixed_precision=config.train.mixed_precision,
        cpu=config.train.device == "cpu",
        gradient_accumulation_steps=config.train.gradient_accumulation_steps,
    )
    num_launched = int(os.environ.get("WORLD_SIZE", "1"))
    if num_launched != accelerator.num_processes:
        raise ValueError(  # otherwise each process would train, write and publish on its own
            f"{num_launched} processes were started that do not know of each other: each needs an accelerator of its own, or "
            "on processors train.device=cpu and ACCELERATE_USE_CPU=true in the environment."
        )
    task = config.make_task()
    model = build_model(config.build_model_config(task), task.get_spec().in_features, config.train.seed)
    freeze_parameters(model, config.train.freeze)
    return accelerator, task, model, build_optimizer(model, config.optim)


def time_steps(config: RunConfig, steps: int) -> tuple[TickModel, list[float], float]:
    """Measure the time of some optimiser steps, after one warm-up step, and of one evaluation.

    Returns:
        The model, the seconds of each step, and the seconds of the evaluation.
    """
    accelerator, task, bare_model, optimizer = assemble(config)
    model, optimizer = accelerator.prepare(bare_model, optimizer)
    batches = task.iterate_batches(config.train.batch_size, config.train.seed)
    seconds = []
    for _ in range(steps + 1):
        start_time = time.monotonic()
        train_step(config, task.decoder, model, optimizer, accelerator, batches, config.optim.lr, 1.0)
        seconds.append(time.monotonic() - start_time)
    start_time = time.monotonic()
    evaluate_curves(accelerator.unwrap_model(model), task.decoder, [sample_validation_batch(config, task)])
    return bare_model, seconds[1:], time.monotonic() - start_time


def _run_loop(
    config: RunConfig,
    task: Task,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    run_dir: RunDir,
    trainer_state: TrainerState,
    stop_signals: list[int],
    on_save: Callable[[int], None] | None,
) -> bool:
    """Train from the step of `trainer_state`, which is updated in place; return whether all steps are done."""
    settings = config.train

    def save_now() -> None:
        save_state(config, task, model, optimizer, accelerator, run_dir, trainer_state)
        if on_save is not None and accelerator.is_main_process:
            on_save(trainer_state.step)

    batches = task.iterate_batches(
        settings.batch_size,
        settings.seed,
        accelerator.process_index,
        accelerator.num_processes,
        start=trainer_state.step * settings.gradient_accumulation_steps,
    )
    start_time = time.monotonic()
    start_step = trainer_state.step
    with progress_bar(accelerator.is_main_process, trainer_state.step, settings.steps) as advance:
        while trainer_state.step < settings.steps:
            timed_out = time.monotonic() - start_time > (settings.max_minutes or float("inf")) * 60
            timed_out = timed_out and accelerator.is_main_process  # only the clock of rank 0 counts
            if should_any_process_stop(bool(stop_signals) or timed_out, accelerator):
                if trainer_state.saved != trainer_state.step:
                    save_now()
                if accelerator.is_main_process:
                    run_dir.write_status(
                        "stopped", trainer_state.step, settings.steps, out_of_time=timed_out and not stop_signals
                    )
                return False
            lr = lr_at_step(trainer_state.step, settings.steps, config.optim)
            remaining_fraction = 1 - trainer_state.step / settings.steps
            values = train_step(config, task.decoder, model, optimizer, accelerator, batches, lr, remaining_fraction)
            trainer_state.step += 1
            step = trainer_state.step
            is_last = step == settings.steps
            advance(step, values["loss"])
            if step % settings.log_every == 0 or is_last:
                steps_per_second = (step - start_step) / (time.monotonic() - start_time)
                more_values = {"lr": lr, **measure_memory(accelerator.device)}
                log_step(accelerator, run_dir, step, settings.steps, steps_per_second, {**values, **more_values})
            if step % settings.eval_every == 0 or is_last:
                validate(config, task, model, accelerator, run_dir, trainer_state)
            if step % settings.save_every == 0 or is_last:
                save_now()
    return True


def train_step(
    config: RunConfig,
    decoder: AnswerDecoder,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    batches: Iterator[Batch],
    lr: float,
    remaining_fraction: float,
) -> dict[str, float]:
    """Run one optimiser step over `train.gradient_accumulation_steps` batches.

    Args:
        config: settings of the run.
        decoder: decoder of the task.
        model: the prepared model; its parameters change in place.
        optimizer: the prepared optimiser.
        accelerator: the accelerator that prepared both.
        batches: source of training batches.
        lr: learning rate of this step.
        remaining_fraction: 1 at the first step, falling to 0; scales `loss.mean_share`.

    Returns:
        Loss, accuracy and gradient norms, averaged over batches and processes.

    Raises:
        FloatingPointError: one of these figures is not finite; the parameters are unchanged.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    totals: dict[str, Tensor] = {}
    model.train()
    for part in range(config.train.gradient_accumulation_steps):
        batch = next(batches)
        is_last = part == config.train.gradient_accumulation_steps - 1
        accelerator.gradient_state._set_sync_gradients(is_last)
        with nullcontext() if is_last else accelerator.no_sync(model):
            loss, values = compute_loss(config, decoder, model, batch, accelerator.device, remaining_fraction)
            accelerator.backward(loss)
        for name, value in values.items():
            totals[name] = totals.get(name, 0) + value / config.train.gradient_accumulation_steps
    figures = {name: accelerator.reduce(value, "mean").item() for name, value in totals.items()}
    norms = clip_gradients(accelerator, model, config.optim.max_grad_norm)
    # With loss scaling a gradient may overflow now and then; the scaler skips such a step.
    uses_scaler = accelerator.scaler is not None
    for name, value in (figures if uses_scaler else figures | norms).items():
        if not isfinite(value):  # the values are equal in all processes, so all of them raise here
            raise FloatingPointError(
                f"{name} is {value}: training stopped, the last saved step is kept. "
                "Lower optim.lr, or set train.mixed_precision=no."
            )
    optimizer.step()
    optimizer.zero_grad()
    return figures | norms


def compute_loss(
    config: RunConfig,
    decoder: AnswerDecoder,
    model: torch.nn.Module,
    batch: Batch,
    device: torch.device,
    remaining_fraction: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of one batch.

    Returns:
        The loss, a scalar with gradient, and detached scalars to log.
    """
    settings = config.loss
    inputs = batch.inputs.to(device)
    targets = batch.targets.to(device)
    output = model(inputs, energy_grad_to_trunk=settings.energy_grad_to_trunk)
    certainty = output.certainties[:, 1]
    right = decoder.is_correct(output.answers.detach(), targets)
    answer_mask = compute_answer_mask(output.input_ticks, right.size(1))
    trunk_loss = decoder.loss(
        output.answers,
        targets,
        certainty,
        settings.tick_reduction,
        settings.lookahead,
        settings.mean_share * remaining_fraction,
        answer_mask,
    )
    values = {"loss": trunk_loss.detach(), "accuracy": right[:, -1].float().mean()}
    certainty = certainty if answer_mask is None else certainty.masked_fill(~answer_mask, -1)
    values["accuracy_certain"] = right.gather(1, certainty.argmax(1, keepdim=True)).float().mean()
    if settings.energy_kind == "none":
        return trunk_loss, values
    tick_losses = decoder.tick_losses(output.answers.detach(), targets) if settings.energy_kind == "gain" else None
    tick_labels = TickLabels(right, answer_mask, tick_losses)
    energy = energy_loss(settings.energy_kind, output.energies, tick_labels, settings.energy_loss_params)
    values["energy_loss"] = energy.detach()
    return trunk_loss + settings.energy_weight * energy, values


def clip_gradients(accelerator: Accelerator, model: torch.nn.Module, max_norm: float) -> dict[str, float]:
    """Clip the gradients of trunk and energy head separately, in place.

    With one norm over both, large gradients of the energy head would scale down those of the trunk.

    Args:
        accelerator: unscales the gradients first.
        model: the model.
        max_norm: largest L2 norm of either part; 0 or less does not clip.

    Returns:
        The norms before clipping.
    """
    accelerator.unscale_gradients()
    norms = {}
    for name, is_energy_head in (("grad_norm", False), ("energy_grad_norm", True)):
        parameters = [
            parameter
            for key, parameter in model.named_parameters()
            if (ENERGY_HEAD_PREFIX in key) == is_energy_head and parameter.grad is not None
        ]
        if parameters:
            norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm if max_norm > 0 else float("inf"))
            norms[name] = norm.item()
    return norms


def build_optimizer(model: TickModel, config: OptimConfig) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters, with weight decay on matrices only."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.dim() > 1]
    vectors = [parameter for parameter in trainable if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr)


def lr_at_step(step: int, total_steps: int, config: OptimConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to `min_lr_ratio` times the highest rate."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    cosine = 0.5 * (1 + torch.cos(torch.tensor(progress * torch.pi)).item())
    return config.lr * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)


def sample_validation_batch(config: RunConfig, task: Task) -> Batch:
    """Draw the validation samples of a run; they are the same at every evaluation."""
    return task.sample(VALIDATION, config.train.eval_samples, make_generator("evaluation", config.train.seed))


def validate(
    config: RunConfig,
    task: Task,
    model: torch.nn.Module,
    accelerator: Accelerator,
    run_dir: RunDir,
    trainer_state: TrainerState,
) -> None:
    """Evaluate the model on validation samples, log the figures, and update `trainer_state.accuracy`."""
    if not accelerator.is_main_process:
        return
    curves = evaluate_curves(accelerator.unwrap_model(model), task.decoder, [sample_validation_batch(config, task)])
    figures = summarise_curves(curves) | compute_validation_metrics(
        curves, confident_energy_threshold(config.loss.energy_kind, config.loss.energy_margin)
    )
    values = {f"validation_{name}": value for name, value in figures.items()}
    run_dir.log_metrics({"step": trainer_state.step, **values})
    trainer_state.accuracy = values["validation_accuracy_best"]


def save_state(
    config: RunConfig,
    task: Task,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    run_dir: RunDir,
    trainer_state: TrainerState,
) -> None:
    """Save the weights, and everything that a resumed run needs to continue exactly from here.

    Every process must call this function: it collects the random state of each and waits for all.
    """
    trainer_state.saved = trainer_state.step
    rng_states = gather_object([get_rng_state()])
    if accelerator.is_main_process:
        state = {"optimizer": optimizer.state_dict(), "random": rng_states}
        if accelerator.scaler is not None:
            state["scaler"] = accelerator.scaler.state_dict()
        save_step(config, task, accelerator.unwrap_model(model), run_dir, trainer_state, state)
    accelerator.wait_for_everyone()


def restore_state(state: dict[str, Any], optimizer: torch.optim.Optimizer, accelerator: Accelerator) -> TrainerState:
    """Restore optimiser, random state and loss scaler from what `save_state` saved."""
    optimizer.load_state_dict(state["optimizer"])
    if accelerator.process_index < len(state["random"]):  # a process beyond those that saved keeps its seed
        set_rng_state(state["random"][accelerator.process_index])
    if "scaler" in state and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    return TrainerState(**state["loop"])


def log_step(
    accelerator: Accelerator, run_dir: RunDir, step: int, steps: int, steps_per_second: float, values: dict[str, float]
) -> None:
    """Write the figures of a step to the run directory, and to stdout where there is no progress bar."""
    if accelerator.is_main_process:
        run_dir.log_metrics({"step": step, "steps_per_second": steps_per_second, **values})
        run_dir.write_status("training", step, steps, steps_per_second=steps_per_second)
        if not os.isatty(1):
            figures = f"loss {values['loss']:.4f}, {values['accuracy']:.1%} right at the last tick"
            print(f"step {step:,} of {steps:,}: {figures}, {steps_per_second:.3g} steps a second", flush=True)


def should_any_process_stop(should_stop: bool, accelerator: Accelerator) -> bool:
    """Return whether any process has a reason to stop; every process must call this function at the same step."""
    if accelerator.num_processes == 1:
        return should_stop
    if should_stop:
        accelerator.set_trigger()
    return accelerator.check_trigger()


@contextmanager
def progress_bar(enabled: bool, step: int, steps: int) -> Iterator[Callable[[int, float], None]]:
    """Show a progress bar if stdout is a terminal.

    Args:
        enabled: False shows nothing.
        step: steps that are already done.
        steps: steps in total.

    Yields:
        A function (step, loss) that updates the bar.
    """
    columns = [
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, disable=not (enabled and os.isatty(1))) as bar:
        row = bar.add_task("training", total=steps, completed=step, loss="")
        yield lambda step, loss: bar.update(row, completed=step, loss=f"loss {loss:.4f}")
