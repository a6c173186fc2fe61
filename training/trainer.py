"""The one training loop: batch -> loss -> backward -> clip -> step -> log, save. It knows no task."""

import os
import signal
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
from training.evaluation import compute_validation_metrics, evaluate_curves, summarise_curves
from training.run_dir import RunDir
from training.tasks.base import VALIDATION, Batch, Task, make_generator
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

CORE_PARAMETER_PREFIXES = (
    "start_",
    "synapses.",
    "trace_processor.",
    "lstm.",
)  # what thinks, whatever it is shown and asked
NEURON_INDICES_INFIX = "_neuron_indices_"  # which neurons of the core are synchronised


def train(
    config: RunConfig,
    run_dir: RunDir,
    *,
    resume: bool = True,
    init_model: TickModel | None = None,
    on_save: Callable[[int], None] | None = None,
) -> bool:
    """Train until the last step, until SIGTERM or SIGINT asks to stop, or until its time is over; then the step is saved.

    Args:
        config: the run.
        folder: where it is kept. A run that is found there goes on exactly where it was saved.
        resume: False starts over.
        start: whose weights a new run begins with.
        on_save: told each step whose checkpoint was just saved.

    Returns:
        Whether all steps are done.

    Raises:
        FloatingPointError: loss or gradients are not numbers. Nothing is saved then.
        OSError: the disk is about to be full (`ENOSPC`).
    """
    accelerator, task, machine, optimizer = assemble(config)
    if init_model is not None:
        load_initial_weights(machine, init_model, config.train.takes)
    state = None
    if accelerator.is_main_process:  # the others may be on machines that lack the folder
        run_dir.initialize(config)
        check_free_disk(run_dir, estimate_checkpoint_bytes(machine), config.train.spare_gb, "nothing was trained")
        if not resume:
            run_dir.delete_checkpoints()
        state = load_latest_state(run_dir, machine)
    state = broadcast_object_list([state])[0]
    model, optimizer = accelerator.prepare(machine, optimizer)  # gives all processes the weights of the first
    set_seed(config.train.seed + accelerator.process_index)
    progress = restore_state(state, optimizer, accelerator) if state else TrainerState()
    if accelerator.is_main_process:
        run_dir.truncate_metrics(progress.step)
    with catch_stop_signals() as stopping:
        done = _run_loop(config, task, model, optimizer, accelerator, run_dir, progress, stopping, on_save)
    accelerator.end_training()
    return done


def assemble(
    config: RunConfig,
) -> tuple[Accelerator, Task, TickModel, torch.optim.Optimizer]:
    """The parts of a run, not yet on their device."""
    accelerator = Accelerator(
        mixed_precision=config.train.mixed_precision,
        cpu=config.train.device == "cpu",
        gradient_accumulation_steps=config.train.accumulate,
    )
    if (begun := int(os.environ.get("WORLD_SIZE", "1"))) != accelerator.num_processes:
        raise ValueError(  # each of them would train, write and publish for itself
            f"{begun} processes were started that do not know of each other: each needs an accelerator of its own, or on "
            "processors train.device=cpu and ACCELERATE_USE_CPU=true in the environment."
        )
    task = config.make_task()
    machine = build_model(config.build_model_config(task), task.get_spec().in_features, config.train.seed)
    freeze_parameters(machine, config.train.frozen)
    return accelerator, task, machine, build_optimizer(machine, config.optim)


def time_steps(config: RunConfig, steps: int) -> tuple[TickModel, list[float], float]:
    """Seconds that each of some steps takes, after one that warms up, and an evaluation; the machine they were taken with."""
    accelerator, task, machine, optimizer = assemble(config)
    model, optimizer = accelerator.prepare(machine, optimizer)
    batches, seconds = task.iterate_batches(config.train.batch_size, config.train.seed), []
    for _ in range(steps + 1):
        began = time.monotonic()
        train_step(config, task.decoder, model, optimizer, accelerator, batches, config.optim.lr, 1.0)
        seconds.append(time.monotonic() - began)
    began = time.monotonic()
    evaluate_curves(accelerator.unwrap_model(model), task.decoder, [sample_validation_batch(config, task)])
    return machine, seconds[1:], time.monotonic() - began


def load_initial_weights(model: TickModel, source: TickModel, init_mode: str = "all") -> None:
    """Give a new machine the weights of another, as `train.takes` says; with "all", only an energy head may be new.

    Raises:
        ValueError: the two are not built alike, or nothing fits.
    """
    mine, theirs = model.state_dict(), source.state_dict()
    if init_mode == "core":
        mine, theirs = select_core_tensors(mine), select_core_tensors(theirs)
    if init_mode == "grown":
        theirs = {
            name: copy_into_leading_slice(value, mine[name])
            if name in mine and ENERGY_HEAD_PREFIX not in name
            else value
            for name, value in theirs.items()
        }
    if init_mode in ("fitting", "grown"):
        theirs = {name: value for name, value in theirs.items() if name in mine and value.shape == mine[name].shape}
        mine = {name: mine[name] for name in theirs}
    wrong = [
        f"`{name}` is {list(theirs[name].shape) if name in theirs else 'missing'} there, {list(mine[name].shape)} here"
        for name in mine
        if ENERGY_HEAD_PREFIX not in name and (name not in theirs or theirs[name].shape != mine[name].shape)
    ]
    wrong += [f"`{name}` is there alone" for name in theirs.keys() - mine.keys() if ENERGY_HEAD_PREFIX not in name]
    if not mine:
        wrong = ["no weight of it has a name and a shape of ours"]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"init_from does not fit this run's machine: {'; '.join(wrong[:3])}{more}.")
    fitting = {name: tensor for name, tensor in theirs.items() if name in mine and tensor.shape == mine[name].shape}
    model.load_state_dict(fitting, strict=False)


def copy_into_leading_slice(source: Tensor, target: Tensor) -> Tensor:
    """The large one, beginning along every axis with the small one; the small one itself if it is not so small."""
    if source.dim() != target.dim() or any(size > room for size, room in zip(source.shape, target.shape, strict=True)):
        return source
    whole = target.clone()
    whole[tuple(slice(size) for size in source.shape)] = source
    return whole


def select_core_tensors(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor
        for name, tensor in state_dict.items()
        if name.startswith(CORE_PARAMETER_PREFIXES) or NEURON_INDICES_INFIX in name
    }


def freeze_parameters(model: TickModel, mode: str) -> None:
    """Keep the core from learning, where `frozen` says so.

    Raises:
        ValueError: there is no core.
    """
    core = [parameter for name, parameter in model.named_parameters() if name.startswith(CORE_PARAMETER_PREFIXES)]
    if mode == "core" and not core:
        raise ValueError("train.frozen=core needs a machine with a core; a feed-forward one has none.")
    for parameter in core:
        parameter.requires_grad_(mode != "core")


def _run_loop(config, task, model, optimizer, accelerator, run_dir, trainer_state, stop_signals, on_save) -> bool:
    settings = config.train

    def keep_now() -> None:
        save_state(config, task, model, optimizer, accelerator, run_dir, trainer_state)
        if on_save is not None and accelerator.is_main_process:
            on_save(trainer_state.step)

    batches = task.iterate_batches(
        settings.batch_size,
        settings.seed,
        accelerator.process_index,
        accelerator.num_processes,
        start=trainer_state.step * settings.accumulate,
    )
    started, began_at = time.monotonic(), trainer_state.step
    with progress_bar(accelerator.is_main_process, trainer_state.step, settings.steps) as advance:
        while trainer_state.step < settings.steps:
            timed_out = time.monotonic() - started > (settings.minutes or float("inf")) * 60
            timed_out = timed_out and accelerator.is_main_process  # its clock alone counts
            if should_any_process_stop(bool(stop_signals) or timed_out, accelerator):
                if trainer_state.saved != trainer_state.step:
                    keep_now()
                if accelerator.is_main_process:
                    run_dir.write_status(
                        "stopped", trainer_state.step, settings.steps, out_of_time=timed_out and not stop_signals
                    )
                return False
            rate = lr_at_step(trainer_state.step, settings.steps, config.optim)
            share = 1 - trainer_state.step / settings.steps
            values = train_step(config, task.decoder, model, optimizer, accelerator, batches, rate, share)
            trainer_state.step += 1
            step, last = trainer_state.step, trainer_state.step == settings.steps
            advance(step, values["loss"])
            if step % settings.log_every == 0 or last:
                speed = (step - began_at) / (time.monotonic() - started)
                more = {"lr": rate, **measure_memory(accelerator.device)}
                log_step(accelerator, run_dir, step, settings.steps, speed, {**values, **more})
            if step % settings.eval_every == 0 or last:
                validate(config, task, model, accelerator, run_dir, trainer_state)
            if step % settings.save_every == 0 or last:
                keep_now()
    return True


def train_step(
    config: RunConfig,
    decoder: AnswerDecoder,
    model,
    optimizer,
    accelerator: Accelerator,
    batches: Iterator[Batch],
    lr: float,
    remaining_fraction: float,
) -> dict[str, float]:
    """One optimiser step over `accumulate` batches."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    totals: dict[str, Tensor] = {}
    model.train()
    for part in range(config.train.accumulate):
        batch = next(batches)
        last = part == config.train.accumulate - 1
        accelerator.gradient_state._set_sync_gradients(last)
        with nullcontext() if last else accelerator.no_sync(model):
            loss, values = compute_loss(config, decoder, model, batch, accelerator.device, remaining_fraction)
            accelerator.backward(loss)
        for name, value in values.items():
            totals[name] = totals.get(name, 0) + value / config.train.accumulate
    figures = {name: accelerator.reduce(value, "mean").item() for name, value in totals.items()}
    norms = clip_gradients(accelerator, model, config.optim.clip)
    scaled = accelerator.scaler is not None  # then gradients may overflow now and again: the scaler leaves out the step
    for name, value in (figures if scaled else figures | norms).items():
        if not isfinite(value):  # the same in all processes, so they all end here
            raise FloatingPointError(
                f"{name} is {value}: training stopped, the last saved step is kept. "
                "Lower optim.lr, or set train.mixed_precision=no."
            )
    optimizer.step()
    optimizer.zero_grad()
    return figures | norms


def compute_loss(
    config: RunConfig, decoder: AnswerDecoder, model, batch: Batch, device: torch.device, remaining_fraction: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and figures to log."""
    settings = config.loss
    inputs, targets = batch.inputs.to(device), batch.targets.to(device)
    thought = model(inputs, energy_grad_to_trunk=settings.energy_reaches_trunk)
    certainty = thought.certainties[:, 1]
    right = decoder.is_correct(thought.answers.detach(), targets)
    counts = compute_answer_mask(thought.input_ticks, right.size(1))
    trunk = decoder.loss(
        thought.answers,
        targets,
        certainty,
        settings.trunk,
        settings.lookahead,
        settings.mix * remaining_fraction,
        counts,
    )
    values = {"loss": trunk.detach(), "accuracy": right[:, -1].float().mean()}
    certainty = certainty if counts is None else certainty.masked_fill(~counts, -1)
    values["accuracy_certain"] = right.gather(1, certainty.argmax(1, keepdim=True)).float().mean()
    if settings.energy == "none":
        return trunk, values
    losses = decoder.tick_losses(thought.answers.detach(), targets) if settings.energy == "gain" else None
    truth = TickLabels(right, counts, losses)
    energy = energy_loss(settings.energy, thought.energies, truth, settings.energy_loss_params)
    values["energy_loss"] = energy.detach()
    return trunk + settings.energy_weight * energy, values


def clip_gradients(accelerator: Accelerator, model, max_norm: float) -> dict[str, float]:
    """Clip trunk and energy head apart: one norm over both would let a loud head starve the trunk."""
    accelerator.unscale_gradients()
    norms = {}
    for name, wanted in (("grad_norm", False), ("energy_grad_norm", True)):
        group = [
            p for key, p in model.named_parameters() if (ENERGY_HEAD_PREFIX in key) == wanted and p.grad is not None
        ]
        if group:
            norm = torch.nn.utils.clip_grad_norm_(group, max_norm if max_norm > 0 else float("inf"))
            norms[name] = norm.item()
    return norms


def build_optimizer(model: TickModel, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only."""
    learning = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = [p for p in learning if p.dim() > 1], [p for p in learning if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr)


def lr_at_step(step: int, total_steps: int, config: OptimConfig) -> float:
    """Learning rate of a step: linear warm-up, then a cosine to `final_lr` of the highest rate."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    along = (step - config.warmup) / max(1, total_steps - config.warmup)
    cosine = 0.5 * (1 + torch.cos(torch.tensor(along * torch.pi)).item())
    return config.lr * (config.final_lr + (1 - config.final_lr) * cosine)


def sample_validation_batch(config: RunConfig, task: Task) -> Batch:
    """Validation samples that stay the same all run long."""
    return task.sample(VALIDATION, config.train.eval_samples, make_generator("evaluation", config.train.seed))


def validate(config, task: Task, model, accelerator: Accelerator, run_dir: RunDir, trainer_state: TrainerState) -> None:
    """Measure on the validation samples of this run."""
    if not accelerator.is_main_process:
        return
    curves = evaluate_curves(accelerator.unwrap_model(model), task.decoder, [sample_validation_batch(config, task)])
    figures = summarise_curves(curves) | compute_validation_metrics(
        curves, confident_energy_threshold(config.loss.energy, config.loss.margin)
    )
    values = {f"validation_{name}": value for name, value in figures.items()}
    run_dir.log_metrics({"step": trainer_state.step, **values})
    trainer_state.accuracy = values["validation_accuracy_best"]


def save_state(
    config, task: Task, model, optimizer, accelerator: Accelerator, run_dir: RunDir, trainer_state: TrainerState
) -> None:
    """Save weights, and all that going on exactly from here needs."""
    trainer_state.saved = trainer_state.step
    random = gather_object([get_rng_state()])  # of every process
    if accelerator.is_main_process:
        state = {"optimizer": optimizer.state_dict(), "random": random}
        if accelerator.scaler is not None:
            state["scaler"] = accelerator.scaler.state_dict()
        save_step(config, task, accelerator.unwrap_model(model), run_dir, trainer_state, state)
    accelerator.wait_for_everyone()


def restore_state(state: dict[str, Any], optimizer, accelerator: Accelerator) -> TrainerState:
    optimizer.load_state_dict(state["optimizer"])
    if accelerator.process_index < len(state["random"]):  # a process that was not there before keeps its own seed
        set_rng_state(state["random"][accelerator.process_index])
    if "scaler" in state and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    return TrainerState(**state["loop"])


def log_step(accelerator, run_dir: RunDir, step: int, steps: int, steps_per_second: float, values: dict) -> None:
    if accelerator.is_main_process:
        run_dir.log_metrics({"step": step, "steps_per_second": steps_per_second, **values})
        run_dir.write_status("training", step, steps, steps_per_second=steps_per_second)
        if not os.isatty(1):  # a log, which has no progress bar
            shown = f"loss {values['loss']:.4f}, {values['accuracy']:.1%} right at the last tick"
            print(f"step {step:,} of {steps:,}: {shown}, {steps_per_second:.3g} steps a second", flush=True)


def should_any_process_stop(should_stop: bool, accelerator: Accelerator) -> bool:
    """Whether any process has to stop."""
    if accelerator.num_processes == 1:
        return should_stop
    if should_stop:
        accelerator.set_trigger()
    return accelerator.check_trigger()


@contextmanager
def catch_stop_signals() -> Iterator[list[int]]:
    """Turn SIGTERM and SIGINT into an entry of a list. A second Ctrl-C acts as usual; a second SIGTERM breaks no save off."""
    caught: list[int] = []

    def note(number, frame):
        caught.append(number)
        if number == signal.SIGINT:
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
def progress_bar(enabled: bool, step: int, steps: int):
    """A progress bar on the terminal; gives a function (step, loss)."""
    columns = [
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, disable=not (enabled and os.isatty(1))) as bar:
        job = bar.add_task("training", total=steps, completed=step, loss="")
        yield lambda step, loss: bar.update(job, completed=step, loss=f"loss {loss:.4f}")
