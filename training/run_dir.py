"""A run folder: the interface between the process that trains and whoever watches.

    runs/<id>/config.yaml  command.txt  origin.json  status.json  metrics.jsonl  ending.json  exit.json  log.txt  lock
              checkpoints/<step>/  trainer/<step>/  checkpoint/  outbox/

`checkpoints/<step>` are checkpoint folders that load without training code; `trainer/<step>` holds what a resumed run needs
besides (optimiser, random states) and never leaves the machine. `checkpoint` is the finished one. This module alone knows
the names.
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

EVENT_STREAM_ENV = "CTM_ECHO"  # in the environment of a run whose folder nobody can see: then it prints what it writes
EVENT_PREFIX = "::ctm "


@dataclass(frozen=True)
class RunDir:
    path: Path

    @property
    def final_checkpoint_dir(self) -> Path:
        return self.path / "checkpoint"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def log_file(self) -> Path:
        """What a job printed, where one ran here."""
        return self.path / "log.txt"

    def checkpoint_dir(self, step: int) -> Path:
        return self.path / "checkpoints" / f"{step:08d}"

    def trainer_state_dir(self, step: int) -> Path:
        return self.path / "trainer" / f"{step:08d}"

    @contextmanager
    def exclusive(self, is_writer: bool = True) -> Iterator[None]:
        """Hold the folder; a process that does not write needs no hold.

        Raises:
            ValueError: another process trains there.
        """
        if not is_writer:
            yield
            return
        with file_lock(self.path / "lock", timeout_s=1.0) as alone:  # who only asks whether it is held is soon gone
            if not alone:
                raise ValueError(f"Another process is training in {self.path}. Stop it first, or name another folder.")
            yield

    @property
    def is_locked(self) -> bool:
        """Whether a process trains there now."""
        return self.is_locked_after_wait(0.0)

    def is_locked_after_wait(self, timeout_s: float) -> bool:
        """The same, with so many seconds for one that has ended: its threads may let go of the folder later than it."""
        if not (self.path / "lock").is_file():
            return False
        with file_lock(self.path / "lock", timeout_s) as alone:
            return not alone

    def initialize(self, config: RunConfig) -> None:
        """Make the folder, or check that an existing one belongs to the same config; where it is published may change."""
        self.path.mkdir(parents=True, exist_ok=True)
        for draft in (*self.path.glob("checkpoints/.*"), *self.path.glob("trainer/.*")):  # of a save that was killed
            shutil.rmtree(draft, ignore_errors=True)
        for trainer in self.path.glob("trainer/*"):
            if not (self.path / "checkpoints" / trainer.name).is_dir():
                shutil.rmtree(trainer, ignore_errors=True)
        recipe = self.path / "config.yaml"
        if recipe.is_file() and self.load_config().model_copy(update={"publish": config.publish}) != config:
            raise ValueError(f"{self.path} holds a run with other settings. Name another folder, or remove it.")
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        if read_text(recipe) != text:
            write_text(recipe, text)

    def load_config(self) -> RunConfig:
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
        """Keep the command that began the run, for its card; a command that resumes it is not remembered."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "command.txt").is_file():
            (self.path / "command.txt").write_text(command + "\n", "utf-8")

    def read_command(self) -> str:
        path = self.path / "command.txt"
        return path.read_text("utf-8", "replace").strip() if path.is_file() else "unknown"

    def write_outcome(self, reason: str, message: str) -> None:
        """Write why a training ended, unless another process of the same training did so already."""
        values = {"reason": reason, "sentence": " ".join(message.split()), "time": time.time()}
        with file_lock(self.path / "ending.lock", timeout_s=1.0):
            if not self.read_outcome():
                write_preallocated(self.path / "ending.json", values)
                emit_event("ending.json", values)

    def read_outcome(self) -> dict[str, Any]:
        """Why the training that was here last ended; {} while one goes on, or where none could say."""
        return read_preallocated(self.path / "ending.json")

    def reset_outcome(self) -> None:
        """Reserve the room to write the ending in: the disk may be full then."""
        preallocate(self.path / "ending.json")

    def save_origin(self, name: str) -> None:
        """Keep which checkpoint the weights came from at the start."""
        write_json(self.path / "origin.json", {"init_from": name})

    def read_origin(self) -> str:
        return str(read_json(self.path / "origin.json", default={}).get("init_from", ""))

    def write_status(self, phase: str, step: int, steps: int, **extra: Any) -> None:
        """Tell whoever watches what the run is doing."""
        values = {"phase": phase, "step": step, "steps": steps, "time": time.time(), **extra}
        write_json(self.path / "status.json", values)
        emit_event("status.json", values)

    def log_metrics(self, values: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        emit_event(self.metrics_file.name, values)

    def read_metrics(self) -> list[dict[str, Any]]:
        """What was logged, oldest first; a line that a crash cut off, or that is none of ours, is left out."""
        found = []
        for line in self.metrics_file.read_bytes().split(b"\n") if self.metrics_file.is_file() else []:
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(values, dict) and type(values.get("step")) is int:
                found.append(values)
        return found

    def read_latest_validation(self) -> dict[str, float]:
        """The newest figures on validation samples; {} before the first evaluation."""
        for values in reversed(self.read_metrics()):
            if found := {name: value for name, value in values.items() if name.startswith("validation_")}:
                return found
        return {}

    def delete_checkpoints(self) -> None:
        """Drop all that was saved, and what was logged, to start over."""
        for folder in (self.path / "checkpoints", self.path / "trainer", self.final_checkpoint_dir):
            shutil.rmtree(folder, ignore_errors=True)
        self.metrics_file.unlink(missing_ok=True)

    def truncate_metrics(self, step: int) -> None:
        """Drop metric lines past `step`, which a resumed run will write again, and a line cut off by a crash."""
        kept = [values for values in self.read_metrics() if values["step"] <= step]
        if self.metrics_file.is_file():
            write_text(self.metrics_file, "".join(f"{json.dumps(values)}\n" for values in kept))

    def save(self, step: int, checkpoint: Checkpoint, trainer_state: dict[str, Any]) -> None:
        """Save weights and progress of a step; the weights go last, so a step that has weights is whole."""
        folder = self.trainer_state_dir(step)
        draft = folder.with_name(f".{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        torch.save(trainer_state, draft / "progress.pt")
        fsync_path(draft / "progress.pt")
        replace_dir(draft, folder)
        save(checkpoint, self.checkpoint_dir(step))

    def list_steps(self) -> list[int]:
        """Steps that were saved whole, oldest first."""
        saved = (self.path / "checkpoints").glob("[0-9]*")
        steps = sorted(int(folder.name) for folder in saved if folder.name.isdecimal())
        return [step for step in steps if (self.trainer_state_dir(step) / "progress.pt").is_file()]

    def find_latest_checkpoint(self) -> Path | None:
        """The finished checkpoint, or else that of the newest saved step; None before the first."""
        if is_complete_checkpoint(self.final_checkpoint_dir):
            return self.final_checkpoint_dir
        steps = self.list_steps()
        return self.checkpoint_dir(steps[-1]) if steps else None

    def load_trainer_state(self, step: int) -> dict[str, Any]:
        """What `save` was given; written by this program, and read without unpickling code all the same.

        Raises:
            ValueError: it cannot be read.
        """
        try:
            return torch.load(self.trainer_state_dir(step) / "progress.pt", map_location="cpu", weights_only=True)
        except Exception as error:  # a torn file makes the reader fail in whatever way
            raise ValueError(f"progress.pt is broken ({type(error).__name__})") from None

    def prune(self, limit: int, best_step: int | None) -> None:
        """Remove all but the newest `keep` steps and the best one."""
        for step in self.list_steps()[:-limit]:
            if step != best_step:
                shutil.rmtree(self.checkpoint_dir(step), ignore_errors=True)
                shutil.rmtree(self.trainer_state_dir(step), ignore_errors=True)

    def read_status(self) -> dict[str, Any]:
        """What the run said last that it is doing; {} before it said anything.

        Raises:
            ValueError: the file is broken.
        """
        values = read_json(self.path / "status.json", default={})
        if any(type(values.get(name, 0)) is not int for name in ("step", "steps")):
            raise ValueError("status.json is broken: its steps are no whole numbers.")
        return values


def emit_event(file: str, values: dict[str, Any]) -> None:
    """Print what was written into the run folder, for whoever follows it from elsewhere."""
    if os.environ.get(EVENT_STREAM_ENV):
        print(f"{EVENT_PREFIX}{file} {json.dumps(values)}\n", end="", flush=True)  # in one piece: others print, too
