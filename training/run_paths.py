"""Names and paths of the files of a run directory. No other module spells them."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

CONFIG_FILENAME = "config.yaml"
COMMAND_FILENAME = "command.txt"
ORIGIN_FILENAME = "origin.json"
HISTORY_FILENAME = "history.jsonl"
STATUS_FILENAME = "status.json"
METRICS_FILENAME = "metrics.jsonl"
SAMPLES_FILENAME = "samples.jsonl"
OUTCOME_FILENAME = "ending.json"
OUTCOME_LOCK_FILENAME = "ending.lock"
EXIT_FILENAME = "exit.json"
LOG_FILENAME = "log.txt"
LOCK_FILENAME = "lock"
OUTBOX_DIRNAME = "outbox"
SPACE_OUTBOX_DIRNAME = "space-outbox"
TRAINER_STATE_FILENAME = "progress.pt"


@dataclass(frozen=True)
class RunPaths:
    """Paths of the files of one run.

    Attributes:
        path: The run directory; it need not exist yet.
        ARCHIVED_FILES: Names of the files that an archive of the run contains, in addition to a checkpoint.
    """

    path: Path

    ARCHIVED_FILES: ClassVar[tuple[str, ...]] = (
        CONFIG_FILENAME,
        COMMAND_FILENAME,
        ORIGIN_FILENAME,
        HISTORY_FILENAME,
        STATUS_FILENAME,
        METRICS_FILENAME,
        SAMPLES_FILENAME,
        OUTCOME_FILENAME,
        LOG_FILENAME,
    )

    @property
    def config_file(self) -> Path:
        """Settings of the run, as YAML."""
        return self.path / CONFIG_FILENAME

    @property
    def command_file(self) -> Path:
        """Command that started the run."""
        return self.path / COMMAND_FILENAME

    @property
    def origin_file(self) -> Path:
        """Name of the checkpoint that gave the initial weights."""
        return self.path / ORIGIN_FILENAME

    @property
    def history_file(self) -> Path:
        """JSON lines of the settings that changed when the run was resumed."""
        return self.path / HISTORY_FILENAME

    @property
    def status_file(self) -> Path:
        """Phase and step, for monitors."""
        return self.path / STATUS_FILENAME

    @property
    def metrics_file(self) -> Path:
        """JSON lines of metrics, one per logged step."""
        return self.path / METRICS_FILENAME

    @property
    def samples_file(self) -> Path:
        """JSON lines of answers to fixed validation inputs, one per evaluation; see `training.live_samples`."""
        return self.path / SAMPLES_FILENAME

    @property
    def outcome_file(self) -> Path:
        """Why the training ended."""
        return self.path / OUTCOME_FILENAME

    @property
    def exit_file(self) -> Path:
        """Exit code of the training program, written by `training.jobs.supervisor`."""
        return self.path / EXIT_FILENAME

    @property
    def log_file(self) -> Path:
        """Output of the job that ran here, if there was one."""
        return self.path / LOG_FILENAME

    @property
    def lock_file(self) -> Path:
        """File lock of the process that trains."""
        return self.path / LOCK_FILENAME

    @property
    def outbox_dir(self) -> Path:
        """Checkpoints that wait for their upload; see `training.publishing.outbox`."""
        return self.path / OUTBOX_DIRNAME

    @property
    def space_outbox_dir(self) -> Path:
        """Static Spaces that wait for their upload; see `training.publishing.outbox`."""
        return self.path / SPACE_OUTBOX_DIRNAME

    @property
    def final_checkpoint_dir(self) -> Path:
        """Directory of the final checkpoint."""
        return self.path / "checkpoint"

    @property
    def checkpoints_dir(self) -> Path:
        """Parent of the checkpoint directories of the saved steps."""
        return self.path / "checkpoints"

    @property
    def trainer_states_dir(self) -> Path:
        """Parent of the trainer state directories of the saved steps."""
        return self.path / "trainer"

    def checkpoint_dir(self, step: int) -> Path:
        """Return the checkpoint directory of a saved step."""
        return self.checkpoints_dir / f"{step:08d}"

    def trainer_state_dir(self, step: int) -> Path:
        """Return the directory with the trainer state of a saved step."""
        return self.trainer_states_dir / f"{step:08d}"

    def list_steps(self) -> list[int]:
        """Return the completely saved steps, oldest first."""
        paths = self.checkpoints_dir.glob("[0-9]*")
        steps = sorted(int(path.name) for path in paths if path.name.isdecimal())
        return [step for step in steps if (self.trainer_state_dir(step) / TRAINER_STATE_FILENAME).is_file()]
