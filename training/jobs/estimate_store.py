"""Measured costs of runs on this computer, kept in one file of the app's home directory.

An estimate holds for the settings that determine the cost of a step, the device, the number of threads and the version of
PyTorch. The number of steps does not belong to them: the time of a longer run follows from the same measurement.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctm.io.json_files import read_json, write_json
from training.config import RunConfig
from training.estimate import compute_total_seconds
from training.jobs.cpu_limits import count_available_cpus

ESTIMATES_FILENAME = "estimates.json"
MAX_ESTIMATES = 200
MAX_FILE_BYTES = 2**20
ESTIMATE_VERSION = 1  # raise it when the cost of a step or of the finalization changes
# Settings that do not change what one step, one evaluation and the finalization cost.
FREE_SETTINGS = {"train": {"steps", "seed", "log_every", "eval_every", "save_every", "max_minutes", "min_free_disk_gb"}}
REQUIRED_FIGURES = ("seconds_per_step", "seconds_per_evaluation", "seconds_to_start", "seconds_to_finalize")


@dataclass(frozen=True)
class StoredEstimate:
    """A measured cost.

    Attributes:
        figures: See `training.estimate.estimate_run`.
        measured_at: Time of the measurement, seconds since the epoch.
        is_shared: Whether a training job was running at the same time, which makes everything slower.
    """

    figures: Mapping[str, Any]
    measured_at: float
    is_shared: bool

    def predict_seconds(self, config: RunConfig) -> float:
        """Return the seconds of a whole run: start, steps, evaluations and finalization."""
        return compute_total_seconds(self.figures, config)


class EstimateStore:
    """Reads and writes the file of estimates. Thread-safe.

    Args:
        path: The file; it need not exist.
        environment: Environment of the app, for the number of threads of a job.
    """

    def __init__(self, path: Path, environment: Mapping[str, str] = os.environ) -> None:
        self.path = path
        self._environment = environment
        self._lock = threading.Lock()

    def get(self, config: RunConfig) -> StoredEstimate | None:
        """Return the estimate of a run; None if it was not measured under the present conditions."""
        return parse_estimate_record(self._read().get(self.build_key(config)))

    def save(self, config: RunConfig, figures: Mapping[str, Any], is_shared: bool = False) -> None:
        """Save what was measured for a run. The oldest estimates are dropped beyond `MAX_ESTIMATES`."""
        record = {"figures": dict(figures), "measured_at": time.time(), "is_shared": is_shared}
        with self._lock:
            records = self._read()
            records.pop(key := self.build_key(config), None)
            records[key] = record
            write_json(self.path, dict(list(records.items())[-MAX_ESTIMATES:]))

    def build_key(self, config: RunConfig) -> str:
        """Return the key of a run: a digest of its settings, the device, the threads and the versions."""
        settings = config.model_dump(mode="json", exclude={"publish": True, "init_from": True, **FREE_SETTINGS})
        uses_gpu = torch.cuda.is_available() and config.train.device != "cpu"
        conditions = {
            "settings": settings,
            "device": torch.cuda.get_device_name() if uses_gpu else "CPU",
            "threads": count_job_threads(self._environment),
            "torch": torch.__version__,
            "version": ESTIMATE_VERSION,
        }
        return hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:32]

    def _read(self) -> dict[str, Any]:
        try:
            records = read_json(self.path, {}, MAX_FILE_BYTES)
        except (ValueError, OSError):  # damaged: everything is measured again
            return {}
        return records if isinstance(records, dict) else {}


def count_job_threads(environment: Mapping[str, str]) -> int:
    """Return the threads of a job with one process: one CPU stays free for the page."""
    return max(1, count_available_cpus(environment) - 1)


def parse_estimate_record(record: Any) -> StoredEstimate | None:
    """Parse one record of the file; None if it is malformed."""
    figures = record.get("figures") if isinstance(record, dict) else None
    if not isinstance(figures, dict) or not all(is_duration(figures.get(name)) for name in REQUIRED_FIGURES):
        return None
    measured_at = record.get("measured_at")
    if not is_duration(measured_at):
        return None
    return StoredEstimate(figures, measured_at, bool(record.get("is_shared")))


def is_duration(value: Any) -> bool:
    """Return whether a value is a finite number of at least 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
