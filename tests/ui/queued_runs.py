"""Training service that starts no job, so that tests can inspect queued jobs."""

import pytest

from tests.ui.run_fixtures import make_training_service
from training.jobs.job import Job
from training.run_dir import RunDir
from ui.services.training_service import TrainingService

TOKEN = "hf_a-token-that-nobody-may-see"


@pytest.fixture
def training_service(tmp_path, checkpoints_dir) -> TrainingService:
    """Return a training service that starts no job."""
    return make_training_service(tmp_path, checkpoints_dir, token=TOKEN)


def start_run(
    training_service: TrainingService, source: str = "tiny", form_values: dict | None = None, **more
) -> tuple[Job, RunDir]:
    run_id = training_service.start_run(source, form_values or {}, more.pop("by", "ann"), **more)
    return training_service.scheduler.store.get(run_id), training_service.scheduler.get_run_dir(run_id)
