"""Training for the Train tab: start, control, publish and archive runs."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctm.stores import StoreUnavailable
from ctm.stores.base import is_complete_checkpoint
from training.config import PublishConfig, RunConfig
from training.jobs.estimate_worker import EstimateWorker
from training.jobs.job import LOCAL_TARGET
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.scheduler import JobScheduler
from training.publishing.run_publisher import check_publish_access, enqueue_newest_checkpoint
from training.publishing.upload_worker import UploadWorker
from ui.services.model_catalog import RUN_PREFIX, ModelCatalog
from ui.services.recipe_catalog import RecipeCatalog, slugify
from ui.services.run_archive import create_run_archive
from ui.services.run_view_models import RunViewModels

MAX_CPU_PROCESSES = 16  # of a run without a GPU
REMOTE_MARGIN_MINUTES = 10  # of the time limit of a remote job, for evaluation and publishing


@dataclass(frozen=True)
class HardwareOption:
    """Hardware that a run can take place on.

    Attributes:
        name: `LOCAL_TARGET`, or a flavor of Hugging Face Jobs.
        label: Name for users.
        price_per_hour: US dollars per hour; None if the hardware is free or its price is unknown.
        devices: Number of GPUs.
    """

    name: str
    label: str
    price_per_hour: float | None
    devices: int = 1


class TrainingService:
    """Starts and controls runs. Thread-safe.

    Args:
        scheduler: Runs the jobs.
        catalog: Catalog in which checkpoints of runs appear.
        recipes_dir: Directory of the recipes.
        upload_worker: Publishes checkpoints; None without a Hub.
        jobs_client: Client of Hugging Face Jobs; None if remote jobs are unavailable.
        namespace: Account that pays for remote jobs.
        has_persistent_storage: Whether runs survive a restart of the app.
    """

    def __init__(
        self,
        scheduler: JobScheduler,
        catalog: ModelCatalog,
        recipes_dir: Path,
        upload_worker: UploadWorker | None = None,
        jobs_client: HfJobsClient | None = None,
        namespace: str = "",
        has_persistent_storage: bool = True,
    ) -> None:
        self.scheduler = scheduler
        self.catalog = catalog
        self.upload_worker = upload_worker
        self.jobs_client = jobs_client
        self.namespace = namespace
        self.has_persistent_storage = has_persistent_storage
        self.recipes = RecipeCatalog(recipes_dir, scheduler, catalog)
        self.estimate_worker = EstimateWorker(
            scheduler.estimates, scheduler.estimate, lambda: scheduler.is_training_here
        )
        self.run_views = RunViewModels(scheduler, catalog.bundled_store.root)

    def start_scheduler(self) -> None:
        """Start the scheduler and the upload worker. The scheduler takes over existing runs."""
        self.scheduler.start()
        if self.upload_worker:
            self.upload_worker.start(lambda: self.scheduler.is_leader)

    def close(self) -> None:
        """Stop the workers and the scheduler. Local runs save a checkpoint and stop."""
        self.estimate_worker.close()
        if self.upload_worker:
            self.upload_worker.close()
        self.scheduler.close()

    # --- starting a run --------------------------------------------------------------------------------------------

    def count_devices(self) -> int:
        """Return the number of GPUs of this host, at least 1."""
        return max(1, torch.cuda.device_count())

    def estimate(self, source: str, form_values: Mapping[str, Any]) -> dict[str, Any]:
        """Measure a few steps of a run, and predict its time, memory and disk space. Blocks for about 15 seconds.

        Args:
            source: See `RecipeCatalog.load_source`.
            form_values: Submitted values by field name.

        Raises:
            ValueError: A value is invalid, or a run uses the GPU.
        """
        self._check_can_measure()
        config = self.recipes.build_config(source, form_values, {}, None).config
        free_gb = shutil.disk_usage(self.scheduler.runs_dir).free / 2**30
        return self.scheduler.estimate(config) | {"free_gb": free_gb}

    def _check_can_measure(self) -> None:
        if torch.cuda.device_count() and self.scheduler.is_training_here:
            raise ValueError("A run is using the GPU, so a measurement would be wrong. Wait until the run has ended.")

    def measure(self, configs: Sequence[RunConfig]) -> None:
        """Measure the cost of runs that have no estimate yet. Blocks for about 15 seconds for each.

        Raises:
            ValueError: A measurement fails, or a run uses the GPU.
        """
        self._check_can_measure()
        for config in configs:
            if self.scheduler.estimates.get(config) is None:
                self.scheduler.estimate(config)

    def list_hardware_options(self) -> list[HardwareOption]:
        """Return this host, and the flavors of Hugging Face Jobs if they are available. May block on the Hub."""
        local = HardwareOption(LOCAL_TARGET, "this computer", None)
        if not self.scheduler.can_run_remotely or self.jobs_client is None:
            return [local]
        try:
            flavors = self.jobs_client.list_flavors()
        except ValueError:  # the Hub cannot be reached; local runs are still possible
            return [local]
        remote = []
        for flavor in flavors:
            price = f", ${flavor.price_per_hour:.2f} per hour" if flavor.price_per_hour else ""
            label = f"Hugging Face Jobs: {flavor.pretty_name}{price}"
            remote.append(HardwareOption(flavor.name, label, flavor.price_per_hour, flavor.devices))
        return [local, *remote]

    def start_run(
        self,
        source: str,
        form_values: Mapping[str, Any],
        by: str,
        *,
        name: str = "",
        publish: Mapping[str, Any] | None = None,
        init_from: str | None = None,
        target: str = LOCAL_TARGET,
        timeout_minutes: int = 0,
        devices: int = 1,
    ) -> str:
        """Queue a run.

        Args:
            source: See `RecipeCatalog.load_source`.
            form_values: Submitted values by field name.
            by: Name of the account that starts it; empty if unknown.
            name: Its id, which gets small letters, digits and hyphens; empty for the name of the source. An id that is taken
                gets the time as well.
            publish: Settings of publishing.
            init_from: See `RecipeCatalog.build_config`.
            target: Name of a hardware option.
            timeout_minutes: Time limit on Hugging Face Jobs, in minutes.
            devices: Number of processes on this host, one per device.

        Returns:
            Id of the run.

        Raises:
            ValueError: A value is invalid, or the target repository cannot be written to.
        """
        config, command, source_name = self.recipes.build_config(source, form_values, publish or {}, init_from)
        job_options: dict[str, Any] = {"devices": devices}
        if target != LOCAL_TARGET:
            config, job_options = self._prepare_remote_job(config, target, timeout_minutes)
        else:
            self._check_devices(config, devices)
        if config.publish.repo and self.upload_worker:  # fails before hours of training instead of after them
            check_publish_access(self.catalog.owner_store, config.publish)
        run_name = slugify(name) if name else source_name
        return self.scheduler.submit(config, run_name, command, by, **job_options).id

    def _check_devices(self, config: RunConfig, devices: int) -> None:
        max_devices = self.count_devices() if config.train.device != "cpu" else MAX_CPU_PROCESSES
        if not 1 <= devices <= max_devices:
            raise ValueError(f"A run may use 1 to {max_devices} devices on this computer: got {devices}.")

    def _prepare_remote_job(
        self, config: RunConfig, target: str, timeout_minutes: int
    ) -> tuple[RunConfig, dict[str, Any]]:
        """Return the settings of a remote job, with a time limit that leaves time to publish, and its options."""
        hardware = next((option for option in self.list_hardware_options() if option.name == target), None)
        if hardware is None:
            raise ValueError(f"The hardware {target[:60]!r} is not available now.")
        if not config.publish.repo:
            raise ValueError("Name a repository to publish to: Hugging Face Jobs deletes its computer after the run.")
        if not config.train.max_minutes:
            config = config.with_overrides({"train.max_minutes": max(1, timeout_minutes - REMOTE_MARGIN_MINUTES)})
        options = {
            "target": target,
            "timeout_minutes": timeout_minutes,
            "namespace": self.namespace,
            "devices": hardware.devices,
        }
        return config, options

    # --- controlling a run -----------------------------------------------------------------------------------------

    def stop(self, run_id: str) -> str:
        """Let a run save a checkpoint and stop, or remove it from the queue. Return a sentence about its state."""
        return self.scheduler.stop(run_id).status_message

    def kill(self, run_id: str) -> str:
        """End a run at once. Return a sentence about its state."""
        return self.scheduler.kill(run_id).status_message

    def resume(self, run_id: str, settings: str = "") -> str:
        """Queue a run again, from its newest checkpoint. Return a sentence about its state.

        Args:
            run_id: Id of the run.
            settings: Settings to change, such as `optim.lr=1e-4 train.max_minutes=60`; empty for none.

        Raises:
            ValueError: The run cannot be resumed, or a setting is invalid or may not change.
        """
        try:
            overrides = shlex.split(settings)
        except ValueError:
            raise ValueError("A quotation mark in the settings is not closed.") from None
        return self.scheduler.resume(run_id, overrides).status_message

    def delete(self, run_id: str) -> None:
        """Delete a run with all its files."""
        self.scheduler.remove(run_id)

    def publish(self, run_id: str, repo: str, private: bool) -> str:
        """Queue the newest checkpoint of a run for upload. Return a sentence about the status of the upload.

        Args:
            run_id: Id of the run.
            repo: Target repository as owner/name.
            private: Whether a new repository becomes private.

        Raises:
            ValueError: The repository cannot be written to, or the Hub cannot be reached.
        """
        if self.upload_worker is None:
            raise ValueError("This app cannot publish to the Hub.")
        settings = PublishConfig.parse({"repo": (repo or "").strip(), "private": bool(private)}, "publish")
        if not settings.repo:
            raise ValueError("Name the repository: namespace/name.")
        run_dir = self.scheduler.get_run_dir(run_id)
        try:
            entry = enqueue_newest_checkpoint(run_dir, settings, self.catalog.owner_store)
        except StoreUnavailable as error:
            raise ValueError(f"{error} Try again in a moment.") from None
        self.upload_worker.wake()
        return entry.format_status()

    def get_checkpoint_name(self, run_id: str, step: int | None) -> str:
        """Return the catalog name of a checkpoint of a run.

        Args:
            run_id: Id of the run.
            step: Step of the checkpoint; None for the finished checkpoint, or the newest step without one.

        Raises:
            ValueError: The run does not exist, or has no checkpoint.
        """
        run_dir = self.scheduler.get_run_dir(run_id)
        if step is None and not is_complete_checkpoint(run_dir.final_checkpoint_dir):
            steps = run_dir.list_steps()
            if not steps:
                raise ValueError(f"The run {run_id} has no checkpoint yet.")
            step = steps[-1]
        return f"{RUN_PREFIX}{run_id}" if step is None else f"{RUN_PREFIX}{run_id}@{step}"

    def create_archive(self, run_id: str) -> str:
        """Write a zip file of a run, see `create_run_archive`. Return its path."""
        return str(create_run_archive(self.scheduler.get_run_dir(run_id)))
