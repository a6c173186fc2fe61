"""Build the services from the settings of the app. Slow to import, because it imports torch."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from ctm.stores.accounts import get_local_token
from training.jobs.cpu_limits import count_available_cpus
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.scheduler import JobScheduler
from training.publishing.upload_worker import UploadWorker, list_run_outboxes
from ui.paths import ROOT
from ui.services.inference_service import InferenceService
from ui.services.model_catalog import ModelCatalog
from ui.services.training_service import TrainingService


def limit_threads(environ: Mapping[str, str]) -> None:
    """Let one forward pass use half of the available CPUs, because several run at once.

    Args:
        environ: Environment of the process, which may limit its CPUs.
    """
    torch.set_num_threads(max(1, count_available_cpus(environ) // 2))


def create_inference_service(
    checkpoints_dir: Path, runs_dir: Path, hub_models: Iterable[str], max_batch_size: int
) -> InferenceService:
    """Build the inference service and its model catalog.

    Args:
        checkpoints_dir: Directory of the bundled checkpoints.
        runs_dir: Directory of the run directories.
        hub_models: Names of models on the Hub to list.
        max_batch_size: Maximum number of requests in one batch of a model.

    Raises:
        ValueError: CTM_MODELS contains a name that is not a Hub model.
    """
    try:
        catalog = ModelCatalog(checkpoints_dir, runs_dir, hub_models)
    except ValueError as error:
        raise ValueError(f"CTM_MODELS cannot be read. {error}") from None
    return InferenceService(catalog, max_batch_size)


def create_training_service(
    catalog: ModelCatalog, runs_dir: Path, space_id: str, resume_interrupted: bool, has_persistent_storage: bool
) -> TrainingService:
    """Build the training service with its scheduler, upload worker and client of Hugging Face Jobs.

    Remote jobs need a token and a Space to report to; without them runs take place on this host only.

    Args:
        catalog: Catalog in which finished runs appear.
        runs_dir: Directory of the run directories.
        space_id: Name of the Space as owner/name; empty elsewhere.
        resume_interrupted: Whether interrupted runs resume when the app starts.
        has_persistent_storage: Whether runs survive a restart of the app.
    """
    token = get_local_token()
    jobs_client = HfJobsClient(token) if token and space_id else None
    scheduler = JobScheduler(
        runs_dir,
        token=token,
        resume_interrupted=resume_interrupted,
        jobs_client=jobs_client,
        hub_store=catalog.owner_store,
        space_id=space_id,
    )
    return TrainingService(
        scheduler,
        catalog,
        ROOT / "configs",
        UploadWorker(lambda: list_run_outboxes(runs_dir), catalog.owner_store),
        jobs_client,
        space_id.partition("/")[0],
        has_persistent_storage=has_persistent_storage,
    )
