"""Trainings that begin nothing, so that what is put in line can be looked at."""

import pytest

from tests.ui.run_fixtures import trainings_in
from training.jobs.store import Job
from training.run_dir import RunFolder
from ui.services.training_service import Trainings

TOKEN = "hf_a-token-that-nobody-may-see"


@pytest.fixture
def trainings(tmp_path, checkpoints) -> Trainings:
    """Trainings that begin nothing: what is put in line stays there."""
    return trainings_in(tmp_path, checkpoints, token=TOKEN)


def started(trainings: Trainings, source: str = "tiny", given: dict | None = None, **more) -> tuple[Job, RunFolder]:
    id = trainings.start(source, given or {}, more.pop("by", "ann"), **more)
    return trainings.runner.book.get(id), trainings.runner.folder(id)
