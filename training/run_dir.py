"""The run directory: the interface between the process that trains and the processes that monitor it.

    runs/<id>/config.yaml  command.txt  origin.json  status.json  metrics.jsonl  ending.json  exit.json  log.txt  lock
              checkpoints/<step>/  trainer/<step>/  checkpoint/  outbox/

`checkpoints/<step>` are checkpoint directories that load without training code. `trainer/<step>` holds what a resumed run
needs in addition (optimiser, random states) and never leaves the computer. `checkpoint` is the final checkpoint.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from ctm.checkpoint import Checkpoint, save
from ctm.io.atomic import fsync_path, replace_dir, write_text
from ctm.io.json_files import read_json, read_text, write_json
from ctm.io.locks import file_lock
from ctm.io.preallocated import preallocate, read_preallocated, write_preallocated
from ctm.io.yaml import parse_yaml
from ctm.stores.base import is_complete_checkpoint
from training.config import RunConfig

# Set in the environment of a run on other hardware: it then prints what it writes, because its run directory is not shared.
EVENT_STREAM_ENV = "CTM_ECHO"
EVENT_PREFIX = "::ctm "


@dataclass(frozen=True)
class RunDir:
    """Paths, files and saved steps of one run.

    Files are replaced atomically, so a reader in another process never sees a half-written one.

    Attributes:
        path: the run directory; it need not exist yet.
    """

    path: Path

    @property
    def final_checkpoint_dir(self) -> Path:
        """Directory of the final checkpoint."""
        return self.path / "checkpoint"

    @property
    def metrics_file(self) -> Path:
        """JSON lines of metrics, one per logged step."""
        return self.path / "metrics.jsonl"

    @property
    def log_file(self) -> Path:
        """Output of the job that ran here, if there was one."""
        return self.path / "log.txt"

    def checkpoint_dir(self, step: int) -> Path:
        """Return the checkpoint directory of a saved step."""
        return self.path / "checkpoints" / f"{step:08d}"

    def trainer_state_dir(self, step: int) -> Path:
        """Return the directory with the trainer state of a saved step."""
        return self.path / "trainer" / f"{step:08d}"

    @contextmanager
    def exclusive(self, is_writer: bool = True) -> Iterator[None]:
        """Lock the run directory for the duration of the context.

        Args:
            is_writer: False does nothing: a process that does not write needs no lock.

        Raises:
            ValueError: another process trains here.
        """
        if not is_writer:
            yield
            return
        with file_lock(self.path / "lock", timeout_s=1.0) as acquired:  # `is_locked` holds the lock for a moment
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
            timeout_s: seconds to wait for the lock.
        """
        if not (self.path / "lock").is_file():
            return False
        with file_lock(self.path / "lock", timeout_s) as acquired:
            return not acquired

    def initialize(self, config: RunConfig) -> None:
        """Create the run directory, or check that an existing one has the same settings.

        Only the settings of publishing may differ. Remains of an interrupted save are deleted.

        Raises:
            ValueError: the directory holds a run with other settings.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for temp_dir in (*self.path.glob("checkpoints/.*"), *self.path.glob("trainer/.*")):  # of a killed save
            shutil.rmtree(temp_dir, ignore_errors=True)
        for state_dir in self.path.glob("trainer/*"):
            if not (self.path / "checkpoints" / state_dir.name).is_dir():
                shutil.rmtree(state_dir, ignore_errors=True)
        recipe = self.path / "config.yaml"
        if recipe.is_file() and self.load_config().model_copy(update={"publish": config.publish}) != config:
            raise ValueError(f"{self.path} holds a run with other settings. Name another directory, or remove it.")
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        if read_text(recipe) != text:
            write_text(recipe, text)

    def load_config(self) -> RunConfig:
        """Load the settings of the run.

        Raises:
            ValueError: there is no run here, or its settings cannot be read.
        """
        recipe = self.path / "config.yaml"
        if not recipe.is_file():
            raise ValueError(f"There is no run at {self.path}.")
        try:
            values = parse_yaml(read_text(recipe), recipe.name)
        except (ValueError, OSError):
            raise ValueError(
                f"The settings of the run {self.path.name} cannot be read: config.yaml is broken."
            ) from None
        return RunConfig.parse(values)

    def save_command(self, command: str) -> None:
        """Save the command that started the run, for its model card; a command that resumes it is not saved."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "command.txt").is_file():
            (self.path / "command.txt").write_text(command + "\n", "utf-8")

    def read_command(self) -> str:
        """Return the command that started the run, or "unknown"."""
        path = self.path / "command.txt"
        return path.read_text("utf-8", "replace").strip() if path.is_file() else "unknown"

    def write_outcome(self, reason: str, message: str) -> None:
        """Write why the training ended, unless another process of the same training already did.

        Args:
            reason: one word, such as "finished", "stopped", "time", or a `training.failures.FailureReason`.
            message: one sentence for users.
        """
        values = {"reason": reason, "sentence": " ".join(message.split()), "time": time.time()}
        with file_lock(self.path / "ending.lock", timeout_s=1.0):
            if not self.read_outcome():
                write_preallocated(self.path / "ending.json", values)
                emit_event("ending.json", values)

    def read_outcome(self) -> dict[str, Any]:
        """Return reason and sentence of the latest outcome; {} during a training, or if none was written."""
        return read_preallocated(self.path / "ending.json")

    def reset_outcome(self) -> None:
        """Clear the outcome and reserve disk space for the next one, which may be written to a full disk."""
        preallocate(self.path / "ending.json")

    def save_origin(self, name: str) -> None:
        """Save the name of the checkpoint that gave the initial weights."""
        write_json(self.path / "origin.json", {"init_from": name})

    def read_origin(self) -> str:
        """Return the name of the checkpoint that gave the initial weights, or ""."""
        return str(read_json(self.path / "origin.json", default={}).get("init_from", ""))

    def write_status(self, phase: str, step: int, steps: int, **extra: Any) -> None:
        """Write the current phase and step for monitors.

        Args:
            phase: "training", "stopped", "finishing" or "finished".
            step: optimiser steps done.
            steps: optimiser steps in total.
            **extra: further values, such as steps_per_second.
        """
        values = {"phase": phase, "step": step, "steps": steps, "time": time.time(), **extra}
        write_json(self.path / "status.json", values)
        emit_event("status.json", values)

    def log_metrics(self, values: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        emit_event(self.metrics_file.name, values)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the logged metrics, oldest first; lines that are incomplete or have no step are skipped."""
        lines = []
        for line in self.metrics_file.read_bytes().split(b"\n") if self.metrics_file.is_file() else []:
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(values, dict) and type(values.get("step")) is int:
                lines.append(values)
        return lines

    def read_latest_validation(self) -> dict[str, float]:
        """Return the latest validation metrics; {} before the first evaluation."""
        for values in reversed(self.read_metrics()):
            if validation := {name: value for name, value in values.items() if name.startswith("validation_")}:
                return validation
        return {}

    def delete_checkpoints(self) -> None:
        """Delete all checkpoints, trainer states and metrics."""
        for directory in (self.path / "checkpoints", self.path / "trainer", self.final_checkpoint_dir):
            shutil.rmtree(directory, ignore_errors=True)
        self.metrics_file.unlink(missing_ok=True)

    def truncate_metrics(self, step: int) -> None:
        """Delete metrics after `step`, which a resumed run writes again, and incomplete lines."""
        lines = [values for values in self.read_metrics() if values["step"] <= step]
        if self.metrics_file.is_file():
            write_text(self.metrics_file, "".join(f"{json.dumps(values)}\n" for values in lines))

    def save(self, step: int, checkpoint: Checkpoint, trainer_state: dict[str, Any]) -> None:
        """Save checkpoint and trainer state of a step; the checkpoint is last, so a step with a checkpoint is complete.

        Args:
            step: optimiser steps done.
            checkpoint: the checkpoint.
            trainer_state: tensors and plain values that `load_trainer_state` returns.
        """
        state_dir = self.trainer_state_dir(step)
        temp_dir = state_dir.with_name(f".{state_dir.name}")
        shutil.rmtree(temp_dir, ignore_errors=True)
        temp_dir.mkdir(parents=True)
        torch.save(trainer_state, temp_dir / "progress.pt")
        fsync_path(temp_dir / "progress.pt")
        replace_dir(temp_dir, state_dir)
        save(checkpoint, self.checkpoint_dir(step))

    def list_steps(self) -> list[int]:
        """Return the completely saved steps, oldest first."""
        paths = (self.path / "checkpoints").glob("[0-9]*")
        steps = sorted(int(path.name) for path in paths if path.name.isdecimal())
        return [step for step in steps if (self.trainer_state_dir(step) / "progress.pt").is_file()]

    def find_latest_checkpoint(self) -> Path | None:
        """Return the final checkpoint, or else that of the newest saved step, or None."""
        if is_complete_checkpoint(self.final_checkpoint_dir):
            return self.final_checkpoint_dir
        steps = self.list_steps()
        return self.checkpoint_dir(steps[-1]) if steps else None

    def load_trainer_state(self, step: int) -> dict[str, Any]:
        """Load the trainer state of a saved step, without unpickling code.

        Raises:
            ValueError: the file cannot be read.
        """
        try:
            return torch.load(self.trainer_state_dir(step) / "progress.pt", map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes torch raise errors of many types
            raise ValueError(f"progress.pt is broken ({type(error).__name__})") from None

    def prune(self, limit: int, best_step: int | None) -> None:
        """Delete all saved steps except the newest `limit` ones and the best one."""
        for step in self.list_steps()[:-limit]:
            if step != best_step:
                shutil.rmtree(self.checkpoint_dir(step), ignore_errors=True)
                shutil.rmtree(self.trainer_state_dir(step), ignore_errors=True)

    def read_status(self) -> dict[str, Any]:
        """Return the latest status; {} before the first one.

        Raises:
            ValueError: the file is broken.
        """
        values = read_json(self.path / "status.json", default={})
        if any(type(values.get(name, 0)) is not int for name in ("step", "steps")):
            raise ValueError("status.json is broken: its steps are no whole numbers.")
        return values


def emit_event(file: str, values: dict[str, Any]) -> None:
    """Print values that were written to the run directory, for a monitor on another host."""
    if os.environ.get(EVENT_STREAM_ENV):
        print(
            f"{EVENT_PREFIX}{file} {json.dumps(values)}\n", end="", flush=True
        )  # one write call: other threads print as well
