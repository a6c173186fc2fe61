"""Training loop of a run: steps, logs, evaluations and saved steps, until the last step or a stop request."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ctm import TickModel
from inference.halting.evidence import format_accuracy
from training.config import RunConfig
from training.console import write_line
from training.estimate_finalization import project_finalization
from training.live_samples import LiveSamples
from training.run_dir import RunDir
from training.setting_changes import SettingChange
from training.signals import catch_stop_signals
from training.stages import Stage, build_stages, find_stage_to_train
from training.trackers import LogFunction, open_tracker
from training.trainer import Trainer
from training.trainer_state import (
    SavedState,
    TrainerState,
    check_free_disk,
    estimate_checkpoint_bytes,
    load_latest_state,
    measure_memory,
    save_step,
)


def train(
    config: RunConfig,
    run_dir: RunDir,
    *,
    resume: bool = True,
    init_model: TickModel | None = None,
    on_save: Callable[[int], None] | None = None,
) -> bool:
    """Train all stages until the last step, a stop request (SIGTERM, SIGINT) or the time limit, and save the step that is reached.

    A resumed run continues exactly where it was saved: the same weights, optimiser state, random state and batches.

    Args:
        config: Settings of the run.
        run_dir: Its run directory.
        resume: False deletes what an earlier training saved there, and starts over.
        init_model: Model whose weights a new run starts with.
        on_save: Called with each step whose checkpoint was just saved.

    Returns:
        Whether all steps are done.

    Raises:
        FloatingPointError: The loss or a gradient norm is not finite; this step is not saved.
        OSError: The disk is almost full (`ENOSPC`).
        ValueError: Saved steps cannot be read, or the settings do not fit the run directory or the number of processes.
    """
    loop = TrainingLoop(config, run_dir, init_model, on_save)
    loop.start(resume)
    is_complete = loop.run()
    loop.trainer.accelerator.end_training()
    return is_complete


class TrainingLoop:
    """Steps of one run, recorded in its run directory.

    Attributes:
        config: Settings of the run.
        trainer: Model, optimiser and progress of the current stage.
        run_dir: Run directory; only the process of rank 0 uses it.
        on_save: Called with each step whose checkpoint was just saved.
    """

    def __init__(
        self,
        config: RunConfig,
        run_dir: RunDir,
        init_model: TickModel | None = None,
        on_save: Callable[[int], None] | None = None,
    ) -> None:
        """Create the loop with the trainer of the first stage; `start` opens the run directory.

        Args:
            config: Settings of the run.
            run_dir: Run directory.
            init_model: Model whose weights a new run starts with.
            on_save: Called with each step whose checkpoint was just saved.
        """
        self.config = config
        first_stage = build_stages(config)[0]
        self.trainer = Trainer(first_stage.config, init_model, first_stage)
        self.run_dir = run_dir
        self.on_save = on_save
        self.is_main_process = self.trainer.accelerator.is_main_process
        self._stop_signals: list[int] = []
        self._report: LogFunction = lambda _step, _values: None
        self._start_time = 0.0
        self._start_seconds = 0.0
        self._speed_start = (0.0, 0)  # time and step from which the speed is measured
        self._live_samples: LiveSamples | None = None
        self._num_evaluations = 0
        self._seconds_to_finalize = 0.0

    def start(self, resume: bool) -> None:
        """Open the run directory, and restore the newest saved step if there is one.

        Args:
            resume: False deletes the saved steps first.

        Raises:
            OSError: The disk is almost full.
            ValueError: Saved steps cannot be read, or a setting changed that may not change.
        """
        latest = None
        if self.is_main_process:  # other processes may run on hosts without the run directory
            self._open_run_dir(resume)
            latest = load_latest_state(self.run_dir, self.config)
        saved, model = latest or (None, None)
        saved = self.trainer.broadcast(saved)
        if saved is None:
            self.trainer.prepare()
        else:
            self._restore(saved, model)
        if self.is_main_process:
            self.run_dir.truncate_metrics(self.trainer.state.step)
            self._num_evaluations = self.run_dir.metrics.count_evaluations()
            self._live_samples = LiveSamples(self.trainer.config, self.trainer.task)

    def _restore(self, saved: SavedState, model: TickModel | None) -> None:
        """Continue from a saved step, or begin a stage with the weights of the step that ended the stage before.

        Args:
            saved: State of the saved step.
            model: Its model; None in processes other than that of rank 0, which get the weights from it.
        """
        step = saved["loop"]["step"]
        stage = find_stage_to_train(self.config, step)
        if stage.number > 1 and step == stage.first_step:
            state = TrainerState(**saved["loop"])
            self._begin_stage(stage, model, state, saved.get("probe"))
            self.trainer.cost.restore(saved.get("costs"), self.trainer.accelerator.process_index)
            return
        if stage.number > 1:
            self.trainer = Trainer(stage.config, None, stage)
        if model is not None:
            self.trainer.unwrapped_model.load_state_dict(model.state_dict())
        self.trainer.prepare()
        self.trainer.restore_state(saved)

    def _begin_stage(
        self, stage: Stage, model: TickModel | None, state: TrainerState, probe: dict[str, Tensor] | None
    ) -> None:
        """Build the trainer of a later stage, which begins with the weights of the stage before and a new optimiser.

        Args:
            stage: The stage.
            model: Model of the stage before; None in processes that get the weights from that of rank 0.
            state: Progress at the end of the stage before.
            probe: Weights of its probe; None if it had none.
        """
        self.trainer = Trainer(stage.config, model, stage)
        self.trainer.prepare()
        self.trainer.continue_probe(probe)
        step = stage.first_step
        self.trainer.state = TrainerState(step=step, samples=state.samples, seconds=state.seconds, saved=step)
        if self._live_samples is not None:  # the stage may have another task
            self._live_samples = LiveSamples(stage.config, self.trainer.task)

    def _open_run_dir(self, resume: bool) -> None:
        """Write the settings of the run, after a check that the disk has room for a saved step."""
        config = self.config
        num_processes = self.trainer.accelerator.num_processes
        if resume:
            report_changes(self.run_dir.initialize(config, num_processes), self.run_dir.last_step)
        self.run_dir.path.mkdir(parents=True, exist_ok=True)
        required_bytes = estimate_checkpoint_bytes(self.trainer.unwrapped_model)
        check_free_disk(self.run_dir, required_bytes, config.train.min_free_disk_gb, "nothing was trained")
        if not resume:
            self.run_dir.delete_checkpoints()
            self.run_dir.initialize(config, num_processes)

    def run(self) -> bool:
        """Train from the current step on; return whether all steps of all stages are done."""
        self._start_time = time.monotonic()
        self._start_seconds = self.trainer.state.seconds
        with (
            open_tracker(self.config, self.run_dir, self.is_main_process) as self._report,
            catch_stop_signals() as self._stop_signals,
            self._show_progress() as advance,
        ):
            while self._train_stage(advance):
                if self.trainer.stage.is_last:
                    return True
                self._start_next_stage()
        return False

    def _train_stage(self, advance: Callable[[int, float], None]) -> bool:
        """Train the current stage from the current step on; return whether its steps are done."""
        settings = self.trainer.config.train
        state = self.trainer.state
        end_step = self.trainer.stage.end_step
        batches = self.trainer.iterate_batches()
        self._speed_start = (time.monotonic(), state.step)
        self._record_stage()
        while state.step < end_step:
            if self._stop_if_requested():
                return False
            values = self.trainer.train_step(batches)
            is_last = state.step == end_step
            advance(state.step, values["loss"])
            if state.step % settings.log_every == 0 or is_last:
                self._log(values)
            if state.step % settings.eval_every == 0 or is_last:
                self._evaluate()
            if state.step % settings.save_every == 0 or is_last:
                self._save()
        return True

    def _start_next_stage(self) -> None:
        """Begin the next stage with the weights of the current model and a new optimiser, as a resumed run does."""
        trainer = self.trainer
        stage = build_stages(self.config)[trainer.stage.number]
        model = trainer.unwrapped_model.cpu()
        probe = trainer.get_probe_weights()
        cost = trainer.cost
        trainer.accelerator.free_memory()
        self._begin_stage(stage, model, trainer.state, probe)
        self.trainer.cost = cost

    def _record_stage(self) -> None:
        """Record where a stage begins, in a run of several stages."""
        stage = self.trainer.stage
        if stage.count > 1 and self.is_main_process:
            if not any(line.get("stage") == stage.number for line in self.run_dir.read_metrics()):
                self._record({"stage": stage.number})
            write_line(f"{stage.describe().capitalize()}: steps {stage.first_step + 1:,} to {stage.end_step:,}.")

    def _stop_if_requested(self) -> bool:
        """Save and return True if any process has a reason to stop; every process must call this at the same step."""
        accelerator = self.trainer.accelerator
        settings = self.trainer.config.train
        state = self.trainer.state
        is_stop_requested = bool(self._stop_signals)
        max_seconds = settings.max_minutes * 60 if settings.max_minutes else float("inf")
        # Only the clock of rank 0 counts.
        is_out_of_time = self.is_main_process and time.monotonic() - self._start_time > max_seconds
        should_stop = is_stop_requested or is_out_of_time
        if accelerator.num_processes > 1:
            if should_stop:
                accelerator.set_trigger()
            should_stop = accelerator.check_trigger()
        if not should_stop:
            return False
        if state.saved != state.step:
            self._save()
        if self.is_main_process:
            out_of_time = is_out_of_time and not is_stop_requested
            stage_status = self.trainer.stage.status
            self.run_dir.write_status(
                "stopped", state.step, self.config.num_steps, out_of_time=out_of_time, **stage_status
            )
        return True

    def _log(self, values: dict[str, float]) -> None:
        """Write the figures of a step to the run directory, and to stdout where there is no progress bar."""
        if not self.is_main_process:
            return
        step = self.trainer.state.step
        num_steps = self.config.num_steps
        stage = self.trainer.stage
        start_time, start_step = self._speed_start
        steps_per_second = (step - start_step) / (time.monotonic() - start_time)
        memory = measure_memory(self.trainer.accelerator.device)
        self._record({"steps_per_second": steps_per_second, **values, **memory})
        self.run_dir.write_status(
            "training",
            step,
            num_steps,
            steps_per_second=steps_per_second,
            seconds_to_finalize=self._seconds_to_finalize,
            **stage.status,
        )
        if not os.isatty(1):
            figures = f"loss {values['loss']:.4f}, {format_accuracy(values['accuracy'])} correct at the last tick"
            position = f" ({stage.describe()})" if stage.count > 1 else ""
            write_line(f"step {step:,} of {num_steps:,}{position}: {figures}, {steps_per_second:.3g} steps per second")

    def _evaluate(self) -> None:
        """Evaluate on validation samples in the process of rank 0, and log the figures."""
        if not self.is_main_process:
            return
        start_time = time.monotonic()
        figures = self.trainer.evaluate()
        evaluation_seconds = time.monotonic() - start_time
        self._seconds_to_finalize = project_finalization(self.trainer.config, self.trainer.task, evaluation_seconds)
        self._record({f"validation_{name}": value for name, value in figures.items()})
        self._num_evaluations += 1
        self._write_samples()

    def _write_samples(self) -> None:
        """Write the answers to the fixed validation inputs; the training goes on without them if that is not possible."""
        if self._live_samples is None or not self._live_samples.inputs:
            return
        step = self.trainer.state.step
        try:
            samples = self._live_samples.build_samples(self.trainer.unwrapped_model, step)
            self.run_dir.samples.append({"step": step, "evaluation": self._num_evaluations, "samples": samples})
        except ValueError as error:  # too slow, too large, or not finite
            write_line(f"step {step:,}: the answers to the validation inputs are not stored. {error}")

    def _record(self, values: dict[str, Any]) -> None:
        """Write figures of the current step to the run directory and to the experiment tracker."""
        state = self.trainer.state
        self._update_seconds()
        values = {**values, "samples": state.samples, "seconds": round(state.seconds, 3)}
        self.run_dir.log_metrics({"step": state.step, **values})
        self._report(state.step, values)

    def _update_seconds(self) -> None:
        """Set the time of training in the state of the run."""
        self.trainer.state.seconds = self._start_seconds + time.monotonic() - self._start_time

    def _save(self) -> None:
        """Save the weights, and everything that a resumed run needs; every process must call this method."""
        trainer = self.trainer
        self._update_seconds()
        trainer.state.mark_saved()
        saved = trainer.collect_state()
        if saved is not None:
            save_step(self.config, trainer.stage, trainer.task, trainer.unwrapped_model, self.run_dir, saved)
        trainer.accelerator.wait_for_everyone()
        if self.on_save is not None and self.is_main_process:
            self.on_save(trainer.state.step)

    @contextmanager
    def _show_progress(self) -> Iterator[Callable[[int, float], None]]:
        """Show a progress bar if stdout is a terminal.

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
        num_steps = self.config.num_steps
        with Progress(*columns, disable=not (self.is_main_process and os.isatty(1))) as bar:
            row = bar.add_task("training", total=num_steps, completed=self.trainer.state.step, loss="")
            yield lambda step, loss: bar.update(row, completed=step, loss=f"loss {loss:.4f}")


def report_changes(changes: list[SettingChange], step: int) -> None:
    """Print the settings that differ from those of the saved run.

    Args:
        changes: The changes.
        step: The saved step from which they count.
    """
    if changes:
        write_line(f"Changed from step {step:,} on: {', '.join(map(str, changes))}.")
    if any(change.name.endswith("train.steps") for change in changes):
        write_line("The learning rate follows the schedule of the new train.steps from here on.")
