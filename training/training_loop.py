"""Training loop of a run: steps, logs, evaluations and saved steps, until the last step or a stop request."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ctm import TickModel
from training.config import RunConfig
from training.console import write_line
from training.run_dir import RunDir
from training.setting_changes import SettingChange
from training.signals import catch_stop_signals
from training.trackers import LogFunction, open_tracker
from training.trainer import Trainer
from training.trainer_state import (
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
    """Train until the last step, a stop request (SIGTERM, SIGINT) or the time limit, and save the step that is reached.

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
    trainer = Trainer(config, init_model)
    loop = TrainingLoop(trainer, run_dir, on_save)
    loop.start(resume)
    is_complete = loop.run()
    trainer.accelerator.end_training()
    return is_complete


class TrainingLoop:
    """Steps of one run, recorded in its run directory.

    Attributes:
        trainer: Model, optimiser and progress.
        run_dir: Run directory; only the process of rank 0 uses it.
        on_save: Called with each step whose checkpoint was just saved.
    """

    def __init__(self, trainer: Trainer, run_dir: RunDir, on_save: Callable[[int], None] | None = None) -> None:
        """Create the loop; `start` opens the run directory.

        Args:
            trainer: Model, optimiser and progress.
            run_dir: Run directory.
            on_save: Called with each step whose checkpoint was just saved.
        """
        self.trainer = trainer
        self.run_dir = run_dir
        self.on_save = on_save
        self.is_main_process = trainer.accelerator.is_main_process
        self._stop_signals: list[int] = []
        self._report: LogFunction = lambda _step, _values: None
        self._start_time = 0.0
        self._start_step = 0

    def start(self, resume: bool) -> None:
        """Open the run directory, and restore the newest saved step if there is one.

        Args:
            resume: False deletes the saved steps first.

        Raises:
            OSError: The disk is almost full.
            ValueError: Saved steps cannot be read, or a setting changed that may not change.
        """
        trainer = self.trainer
        saved = None
        if self.is_main_process:  # other processes may run on hosts without the run directory
            self._open_run_dir(resume)
            saved = load_latest_state(self.run_dir, trainer.unwrapped_model)
        saved = trainer.broadcast(saved)
        trainer.prepare()
        if saved:
            trainer.restore_state(saved)
        if self.is_main_process:
            self.run_dir.truncate_metrics(trainer.state.step)

    def _open_run_dir(self, resume: bool) -> None:
        """Write the settings of the run, after a check that the disk has room for a saved step."""
        config = self.trainer.config
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
        """Train from the current step on; return whether all steps are done."""
        settings = self.trainer.config.train
        state = self.trainer.state
        batches = self.trainer.iterate_batches()
        self._start_time = time.monotonic()
        self._start_step = state.step
        with (
            open_tracker(self.trainer.config, self.run_dir, self.is_main_process) as self._report,
            catch_stop_signals() as self._stop_signals,
            self._show_progress() as advance,
        ):
            while state.step < settings.steps:
                if self._stop_if_requested():
                    return False
                values = self.trainer.train_step(batches)
                is_last = state.step == settings.steps
                advance(state.step, values["loss"])
                if state.step % settings.log_every == 0 or is_last:
                    self._log(values)
                if state.step % settings.eval_every == 0 or is_last:
                    self._evaluate()
                if state.step % settings.save_every == 0 or is_last:
                    self._save()
        return True

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
            self.run_dir.write_status("stopped", state.step, settings.steps, out_of_time=out_of_time)
        return True

    def _log(self, values: dict[str, float]) -> None:
        """Write the figures of a step to the run directory, and to stdout where there is no progress bar."""
        if not self.is_main_process:
            return
        step = self.trainer.state.step
        num_steps = self.trainer.config.train.steps
        steps_per_second = (step - self._start_step) / (time.monotonic() - self._start_time)
        memory = measure_memory(self.trainer.accelerator.device)
        self._record({"steps_per_second": steps_per_second, **values, **memory})
        self.run_dir.write_status("training", step, num_steps, steps_per_second=steps_per_second)
        if not os.isatty(1):
            figures = f"loss {values['loss']:.4f}, {values['accuracy']:.1%} correct at the last tick"
            write_line(f"step {step:,} of {num_steps:,}: {figures}, {steps_per_second:.3g} steps per second")

    def _evaluate(self) -> None:
        """Evaluate on validation samples in the process of rank 0, and log the figures."""
        if self.is_main_process:
            figures = self.trainer.evaluate()
            self._record({f"validation_{name}": value for name, value in figures.items()})

    def _record(self, values: dict[str, Any]) -> None:
        """Write figures of the current step to the run directory and to the experiment tracker."""
        step = self.trainer.state.step
        self.run_dir.log_metrics({"step": step, **values})
        self._report(step, values)

    def _save(self) -> None:
        """Save the weights, and everything that a resumed run needs; every process must call this method."""
        trainer = self.trainer
        trainer.state.mark_saved()
        saved = trainer.collect_state()
        if saved is not None:
            save_step(trainer.config, trainer.task, trainer.unwrapped_model, self.run_dir, saved)
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
        num_steps = self.trainer.config.train.steps
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
    if any(change.name == "train.steps" for change in changes):
        write_line("The learning rate follows the schedule of the new train.steps from here on.")
