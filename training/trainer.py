"""Trainer of one model on one task: optimiser steps, evaluation, and the state that a resumed run needs.

The trainer is the same for every task: the task gives batches and a decoder, the decoder gives the loss.
`training.training_loop` calls it for every step of a run.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from math import isfinite

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from torch import Tensor

from ctm import TickModel, build_model
from training.compilation import compile_model
from training.config import RunConfig, TrainConfig
from training.energy.losses import ENERGY_HEAD_PREFIX, confident_energy_threshold
from training.evaluation import evaluate_curves
from training.loss import build_probes, compute_loss
from training.metrics import compute_validation_metrics, summarise_curves
from training.optimization import build_optimizer, compute_lr
from training.prefetch import prefetch_batches
from training.stages import Stage
from training.tasks.samples import Batch
from training.tasks.splits import VALIDATION, make_generator
from training.token_init import separate_symbols_from_positions
from training.trainer_state import SavedState, TrainerState, get_rng_state, set_rng_state
from training.training_cost import BatchKind, TrainingCost
from training.weight_transfer import freeze_parameters, load_initial_weights


class Trainer:
    """Model, optimiser and progress of one run.

    Attributes:
        config: Settings of the run.
        accelerator: Device, precision and processes.
        task: Task of the run.
        model: The model; after `prepare` on its device, and wrapped where there are several processes.
        probes: Probes of neurons and features, which no checkpoint holds; None without their losses.
        optimizer: AdamW over the trainable parameters of model and probes.
        state: Progress of the run.
        cost: What the training has cost.
    """

    def __init__(self, config: RunConfig, init_model: TickModel | None = None, stage: Stage | None = None) -> None:
        """Build accelerator, task, model and optimiser; the model is on the CPU until `prepare`.

        Args:
            config: Settings of the run, or of the stage.
            init_model: Model whose weights the new model starts with.
            stage: The stage that `config` belongs to; None for a run of one stage.

        Raises:
            ValueError: A launcher started several processes that do not form one process group, or the weights of
                `init_model` do not fit.
        """
        self.config = config
        self.stage = stage or Stage(1, 1, config, 0)
        self.accelerator = build_accelerator(config.train)
        self.task = config.make_task()
        model = build_model(config.build_model_config(self.task), self.task.get_spec().in_features, config.train.seed)
        if config.train.token_init == "separate":
            separate_symbols_from_positions(model)
        freeze_parameters(model, config.train.freeze)
        if init_model is not None:
            source = "init_from" if self.stage.number == 1 else f"the model of stage {self.stage.number - 1}"
            load_initial_weights(model, init_model, config.train.init_mode, source)
        self.model: torch.nn.Module = model
        self.probes = build_probes(config, self.task)
        self.optimizer: torch.optim.Optimizer = build_optimizer(model, config.optim, self.probes)
        self.state = TrainerState(step=self.stage.first_step)
        self.cost = TrainingCost()

    @property
    def stage_step(self) -> int:
        """Optimiser steps done in the stage."""
        return self.state.step - self.stage.first_step

    @property
    def unwrapped_model(self) -> TickModel:
        """Model without the wrappers of accelerate."""
        model = self.accelerator.unwrap_model(self.model)
        assert isinstance(model, TickModel)
        return model

    def prepare(self) -> None:
        """Move model, probes and optimiser to the device, and copy the weights of rank 0 to all processes."""
        if self.config.train.compile:
            compile_model(self.unwrapped_model, self.accelerator.device)
        self.model, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        if self.probes is not None:
            self.probes = self.accelerator.prepare(self.probes)
        set_seed(self.config.train.seed + self.accelerator.process_index)

    def iterate_batches(self) -> Iterator[Batch]:
        """Yield the training batches of this process from the current step on."""
        settings = self.config.train
        batches = self.task.iterate_batches(
            settings.batch_size,
            settings.seed,
            self.accelerator.process_index,
            self.accelerator.num_processes,
            start=self.stage_step * settings.gradient_accumulation_steps,
        )
        return prefetch_batches(batches, settings.prefetch) if settings.prefetch else batches

    def train_step(self, batches: Iterator[Batch]) -> dict[str, float]:
        """Run one optimiser step over `train.gradient_accumulation_steps` batches.

        Args:
            batches: Source of training batches.

        Returns:
            Loss, accuracy and gradient norms, averaged over batches and processes, and the learning rate `lr`.

        Raises:
            FloatingPointError: One of these figures is not finite; the parameters are unchanged.
        """
        lr = compute_lr(self.stage_step, self.config.train.steps, self.config.optim)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        figures = self._accumulate_gradients(batches)
        norms = clip_gradients(self.accelerator, self.model, self.config.optim.max_grad_norm)
        # With loss scaling a gradient may overflow now and then; the scaler skips such a step.
        uses_scaler = self.accelerator.scaler is not None
        for name, value in (figures if uses_scaler else figures | norms).items():
            if not isfinite(value):  # the values are equal in all processes, so all of them raise here
                raise FloatingPointError(format_divergence_message(name, value, self.config, self.stage.setting_prefix))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.step += 1
        self.state.samples += self._samples_per_step
        return figures | norms | {"lr": lr}

    @property
    def _samples_per_step(self) -> int:
        """Training samples of one optimiser step of all processes."""
        settings = self.config.train
        return settings.batch_size * settings.gradient_accumulation_steps * self.accelerator.num_processes

    def _accumulate_gradients(self, batches: Iterator[Batch]) -> dict[str, float]:
        """Add the gradients of all batches of a step; return the figures to log, averaged over processes."""
        num_batches = self.config.train.gradient_accumulation_steps
        progress = self.stage_step / self.config.train.steps
        totals: dict[str, Tensor] = {}
        self.model.train()
        for index in range(num_batches):
            batch = next(batches)
            is_last = index == num_batches - 1
            self.accelerator.sync_gradients = is_last
            self._count_batch(batch, progress, self.stage_step * num_batches + index)
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                loss, values = compute_loss(
                    self.config.loss, self.task, self.model, batch, self.accelerator.device, progress, self.probes
                )
                self.accelerator.backward(loss)
            for name, value in values.items():
                share = value / num_batches
                totals[name] = totals[name] + share if name in totals else share
        return {name: self.accelerator.reduce(value, "mean").item() for name, value in totals.items()}

    def _count_batch(self, batch: Batch, progress: float, index: int) -> None:
        """Count a batch for the cost of the training."""
        kind = BatchKind(
            self.stage.number,
            tuple(batch.inputs.shape),
            bool(self.config.loss.compute_auxiliary_weight(progress)),
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        self.cost.add_batch(kind, index)

    def evaluate(self) -> dict[str, float]:
        """Evaluate the model on the validation samples of the run, which are the same at every call.

        Returns:
            The figures to log; `accuracy_best` is also stored as the accuracy of the current state.
        """
        settings = self.config.train
        batch = self.task.sample(VALIDATION, settings.eval_samples, make_generator("evaluation", settings.seed))
        curves = evaluate_curves(self.unwrapped_model, self.task.decoder, [batch])
        threshold = confident_energy_threshold(self.config.loss.energy_kind, self.config.loss.energy_margin)
        figures = summarise_curves(curves) | compute_validation_metrics(curves, threshold)
        self.state.accuracy = figures["accuracy_best"]
        return figures

    def collect_state(self) -> SavedState | None:
        """Collect what a resumed run needs besides the weights.

        Every process must call this method: it collects the random state of each.

        Returns:
            The state in the process of rank 0, None in the others.
        """
        rng_states = gather_object([get_rng_state()])
        costs = gather_object([self.cost.to_dict()])
        if not self.accelerator.is_main_process:
            return None
        saved: SavedState = {
            "optimizer": self.optimizer.state_dict(),
            "random": rng_states,
            "loop": self.state.to_dict(),
            "costs": costs,
        }
        if self.accelerator.scaler is not None:
            saved["scaler"] = self.accelerator.scaler.state_dict()
        if (weights := self.get_probe_weights()) is not None:
            saved["probe"] = weights
        return saved

    def get_probe_weights(self) -> dict[str, Tensor] | None:
        """Return the weights of the probes; None without probes."""
        return None if self.probes is None else self.accelerator.unwrap_model(self.probes).state_dict()

    def continue_probe(self, weights: dict[str, Tensor] | None) -> None:
        """Load the weights of the probes of the stage before, as far as both stages have a probe of one size."""
        if self.probes is None or weights is None:
            return
        for name, probe in self.accelerator.unwrap_model(self.probes).named_children():
            own = probe.state_dict(prefix=f"{name}.")
            if all(key in weights and weights[key].shape == tensor.shape for key, tensor in own.items()):
                probe.load_state_dict({key.removeprefix(f"{name}."): weights[key] for key in own})

    def restore_state(self, saved: SavedState) -> None:
        """Restore optimiser, probes, random state, loss scaler and progress from what `collect_state` returned."""
        for group in saved["optimizer"]["param_groups"]:
            group["fused"] = self.config.optim.fused or None
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.probes is not None and "probe" in saved:
            self.accelerator.unwrap_model(self.probes).load_state_dict(saved["probe"])
        rank = self.accelerator.process_index
        if rank < len(saved["random"]):  # a process beyond those that saved keeps its seed
            set_rng_state(saved["random"][rank])
        if "scaler" in saved and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        progress = saved["loop"]
        # Version 0.1.0 does not save the number of samples.
        self.state = TrainerState(**{"samples": progress["step"] * self._samples_per_step} | progress)
        self.cost.restore(saved.get("costs"), rank)

    def broadcast(self, saved: SavedState | None) -> SavedState | None:
        """Return the value of rank 0 in every process; every process must call this method."""
        values: list[SavedState | None] = broadcast_object_list([saved])
        return values[0]

    def time_steps(self, steps: int, clock: Callable[[], float] = time.monotonic) -> tuple[list[float], float]:
        """Measure the time of some optimiser steps, after one warm-up step, and of an evaluation after the first one.

        Args:
            steps: Number of steps to measure.
            clock: Returns the present time in seconds.

        Returns:
            The seconds of each step, and the seconds of the evaluation.
        """
        self.prepare()
        batches = self.iterate_batches()
        seconds = []
        for _ in range(steps + 1):
            start_time = clock()
            self.train_step(batches)
            seconds.append(clock() - start_time)
        evaluation_seconds = []
        for _ in range(2):  # the first one may load data
            start_time = clock()
            self.evaluate()
            evaluation_seconds.append(clock() - start_time)
        return seconds[1:], min(evaluation_seconds)


def build_accelerator(settings: TrainConfig) -> Accelerator:
    """Build the accelerator of a run.

    Raises:
        ValueError: A launcher started several processes that do not form one process group.
    """
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision,
        cpu=settings.device == "cpu",
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
    )
    num_launched = int(os.environ.get("WORLD_SIZE", "1"))
    if num_launched != accelerator.num_processes:
        raise ValueError(  # otherwise each process would train, write and publish on its own
            f"{num_launched} processes were started that do not know of each other: each needs an accelerator of its own, or "
            "on processors train.device=cpu and ACCELERATE_USE_CPU=true in the environment."
        )
    return accelerator


def format_divergence_message(name: str, value: float, config: RunConfig, setting_prefix: str = "") -> str:
    """Format the sentence for a figure that is not finite, with settings that a resumed run can take.

    Args:
        name: Name of the figure.
        value: Its value.
        config: Settings of the run, or of the stage.
        setting_prefix: What an override of the stage begins with; see `Stage.setting_prefix`.
    """
    precision = config.train.mixed_precision
    alternative = f", or set train.mixed_precision=no (now {precision})" if precision != "no" else ""
    return (
        f"{name} is {value}: training stopped, the last saved step is kept. Lower {setting_prefix}optim.lr, for example to "
        f"{setting_prefix}optim.lr={config.optim.lr / 10:.2g} (now {config.optim.lr:g}){alternative}, and resume."
    )


def clip_gradients(accelerator: Accelerator, model: torch.nn.Module, max_norm: float) -> dict[str, float]:
    """Clip the gradients of trunk and energy head separately, in place.

    With one norm over both, large gradients of the energy head would scale down those of the trunk.

    Args:
        accelerator: Unscales the gradients first.
        model: The model.
        max_norm: Largest L2 norm of either part; 0 or less does not clip.

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
