"""Trainings that begin nothing, so that what is put in line can be looked at."""

import pytest

from tests.ui.run_fixtures import trainings_in
from training.jobs.store import Job
from training.run_dir import RunFolder
from ui.services.training_service import TrainingService

TOKEN = "hf_a-token-that-nobody-may-see"


@pytest.fixture
def trainings(tmp_path, checkpoints) -> TrainingService:
    """Trainings that begin nothing: what is put in line stays there."""
    return trainings_in(tmp_path, checkpoints, token=TOKEN)


def started(
    trainings: TrainingService, source: str = "tiny", given: dict | None = None, **more
) -> tuple[Job, RunFolder]:
    id = trainings.start_run(source, given or {}, more.pop("by", "ann"), **more)
    return trainings.scheduler.store.get(id), trainings.scheduler.get_run_dir(id)
