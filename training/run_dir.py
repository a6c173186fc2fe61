"""The run directory: the interface between the process that trains and the processes that monitor it.

    runs/<id>/config.yaml  command.txt  origin.json  status.json  metrics.jsonl  samples.jsonl  ending.json  exit.json
              log.txt  lock  checkpoints/<step>/  trainer/<step>/  checkpoint/  outbox/

`checkpoints/<step>` are checkpoint directories that load without training code. `trainer/<step>` holds what a resumed run
needs in addition (optimizer, random states) and is never published. `checkpoint` is the final checkpoint.

`training.run_paths` alone knows the names of these files.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctm.checkpoint import Checkpoint, save
from ctm.io.atomic import fsync_path, replace_dir
from ctm.io.json_files import read_json, write_json
from ctm.io.locks import file_lock
from ctm.io.preallocated import preallocate, read_preallocated, write_preallocated
from ctm.stores.base import is_complete_checkpoint
from training.event_stream import emit_event
from training.metrics_log import MetricsLog
from training.run_paths import (
    CONFIG_FILENAME,
    OUTCOME_FILENAME,
    OUTCOME_LOCK_FILENAME,
    STATUS_FILENAME,
    TRAINER_STATE_FILENAME,
)
from training.run_settings import RunSettingsFiles
from training.samples_log import SamplesLog

LOCK_TIMEOUT_S = 1.0  # `is_locked` holds the lock for a moment


@dataclass(frozen=True)
class RunDir(RunSettingsFiles):
    """Files and saved steps of one run.

    Files are replaced atomically, so a reader in another process never sees a half-written one.

    Attributes:
        path: The run directory; it need not exist yet.
    """

    # --- lock ----------------------------------------------------------------------------------------------------

    @contextmanager
    def exclusive(self, is_writer: bool = True) -> Iterator[None]:
        """Lock the run directory for the duration of the context.

        Args:
            is_writer: False does nothing: a process that does not write needs no lock.

        Raises:
            ValueError: Another process trains here.
        """
        if not is_writer:
            yield
            return
        with file_lock(self.lock_file, LOCK_TIMEOUT_S) as acquired:
            if not acquired:
                raise ValueError(
                    f"Another process is training in {self.path}. Stop it first, or name another directory."
                )
            yield

    @property
    def is_locked(self) -> bool:
        """Whether a process trains here now."""
        return self.is_locked_after_wait(0.0)

    def is_locked_after_wait(self, timeout_s: float) -> bool:
        """Return whether a process trains here, after waiting for one that is ending.

        Threads of a process may release the lock later than the process ends.

        Args:
            timeout_s: Seconds to wait for the lock.
        """
        if not self.lock_file.is_file():
            return False
        with file_lock(self.lock_file, timeout_s) as acquired:
            return not acquired

    # --- command and origin ---------------------------------------------------------------------------------------

    def save_command(self, command: str, replace: bool = False) -> None:
        """Save the command that started the run, for its model card; a command that resumes it is not saved.

        Args:
            command: The command line.
            replace: Whether the run starts over, so that an earlier command does not count.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if replace or not self.command_file.is_file():
            self.command_file.write_text(command + "\n", "utf-8")

    def read_command(self) -> str:
        """Return the command that started the run, or "unknown"."""
        if not self.command_file.is_file():
            return "unknown"
        return self.command_file.read_text("utf-8", "replace").strip()

    def save_origin(self, name: str) -> None:
        """Save the name of the checkpoint that gave the initial weights."""
        write_json(self.origin_file, {"init_from": name})

    def read_origin(self) -> str:
        """Return the name of the checkpoint that gave the initial weights, or ""."""
        return str(read_json(self.origin_file, default={}).get("init_from", ""))

    # --- status and outcome --------------------------------------------------------------------------------------

    def write_status(self, phase: str, step: int, steps: int, **extra: Any) -> None:
        """Write the current phase and step for monitors.

        Args:
            phase: "training", "stopped", "finishing" or "finished".
            step: Optimizer steps done.
            steps: Optimizer steps in total.
            **extra: Further values, such as steps_per_second.
        """
        values = {"phase": phase, "step": step, "steps": steps, "time": time.time(), **extra}
        write_json(self.status_file, values)
        emit_event(STATUS_FILENAME, values)

    def read_status(self) -> dict[str, Any]:
        """Return the latest status; {} before the first one.

        Raises:
            ValueError: The file is broken.
        """
        values = read_json(self.status_file, default={})
        if any(type(values.get(name, 0)) is not int for name in ("step", "steps")):
            raise ValueError(f"{STATUS_FILENAME} is broken: its steps are no whole numbers.")
        return values

    def write_outcome(self, reason: str, message: str) -> None:
        """Write why the training ended, unless another process of the same training already did.

        Args:
            reason: One word, such as "finished", "stopped", "time", or a `training.failures.FailureReason`.
            message: One sentence for users.
        """
        values = {"reason": reason, "sentence": " ".join(message.split()), "time": time.time()}
        with file_lock(self.path / OUTCOME_LOCK_FILENAME, LOCK_TIMEOUT_S):
            if not self.read_outcome():
                write_preallocated(self.outcome_file, values)
                emit_event(OUTCOME_FILENAME, values)

    def read_outcome(self) -> dict[str, Any]:
        """Return reason and sentence of the latest outcome; {} during a training, or if none was written."""
        return read_preallocated(self.outcome_file)

    def reset_outcome(self) -> None:
        """Clear the outcome and reserve disk space for the next one, which may be written to a full disk."""
        preallocate(self.outcome_file)

    def read_exit_info(self) -> dict[str, Any]:
        """Return what the supervisor wrote at the end of the training program: code, out_of_memory, time; or {}."""
        return read_preallocated(self.exit_file)

    # --- metrics -------------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> MetricsLog:
        """Log of the metrics."""
        return MetricsLog(self.metrics_file)

    def log_metrics(self, values: dict[str, Any]) -> None:
        """Append one line to the metrics."""
        self.metrics.append(values)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the logged metrics, oldest first; see `MetricsLog.read`."""
        return self.metrics.read()

    def read_latest_validation(self) -> dict[str, float]:
        """Return the latest validation metrics; {} before the first evaluation."""
        return self.metrics.read_latest_validation()

    def truncate_metrics(self, step: int) -> None:
        """Delete metrics and samples after `step`, which a resumed run writes again, and incomplete lines."""
        self.metrics.truncate(step)
        self.samples.truncate(step)

    @property
    def samples(self) -> SamplesLog:
        """Log of the answers to fixed validation inputs."""
        return SamplesLog(self.samples_file)

    # --- saved steps ---------------------------------------------------------------------------------------------

    def delete_checkpoints(self) -> None:
        """Delete all checkpoints, trainer states, metrics, samples and the history."""
        for directory in (self.checkpoints_dir, self.trainer_states_dir, self.final_checkpoint_dir):
            shutil.rmtree(directory, ignore_errors=True)
        for file in (self.metrics_file, self.samples_file, self.history_file):
            file.unlink(missing_ok=True)

    def save(self, step: int, checkpoint: Checkpoint, trainer_state: dict[str, Any]) -> None:
        """Save checkpoint and trainer state of a step; the checkpoint is last, so a step with a checkpoint is complete.

        Args:
            step: Optimizer steps done.
            checkpoint: The checkpoint.
            trainer_state: Tensors and plain values that `load_trainer_state` returns.
        """
        state_dir = self.trainer_state_dir(step)
        temp_dir = state_dir.with_name(f".{state_dir.name}")
        shutil.rmtree(temp_dir, ignore_errors=True)
        temp_dir.mkdir(parents=True)
        torch.save(trainer_state, temp_dir / TRAINER_STATE_FILENAME)
        fsync_path(temp_dir / TRAINER_STATE_FILENAME)
        replace_dir(temp_dir, state_dir)
        save(checkpoint, self.checkpoint_dir(step))

    def find_latest_checkpoint(self) -> Path | None:
        """Return the final checkpoint, or else that of the newest saved step, or None."""
        if is_complete_checkpoint(self.final_checkpoint_dir):
            return self.final_checkpoint_dir
        steps = self.list_steps()
        return self.checkpoint_dir(steps[-1]) if steps else None

    def load_trainer_state(self, step: int) -> dict[str, Any]:
        """Load the trainer state of a saved step, without unpickling code.

        Raises:
            ValueError: The file cannot be read.
        """
        try:
            return torch.load(
                self.trainer_state_dir(step) / TRAINER_STATE_FILENAME, map_location="cpu", weights_only=True
            )
        except Exception as error:  # a damaged file makes torch raise errors of many types
            raise ValueError(f"{TRAINER_STATE_FILENAME} is broken ({type(error).__name__})") from None

    def prune(self, limit: int, best_step: int | None) -> None:
        """Delete all saved steps except the newest `limit` ones and the best one."""
        for step in self.list_steps()[:-limit]:
            if step != best_step:
                shutil.rmtree(self.checkpoint_dir(step), ignore_errors=True)
                shutil.rmtree(self.trainer_state_dir(step), ignore_errors=True)


def list_run_dirs(runs_dir: Path) -> list[RunDir]:
    """Return the run directories below a directory, by name; hidden ones and those without settings are skipped."""
    return [RunDir(path.parent) for path in sorted(runs_dir.glob(f"[!.]*/{CONFIG_FILENAME}"))]
