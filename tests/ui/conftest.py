"""Fixtures for tests of the page: small untrained checkpoints, one per task, and a clock."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from ctm import build_model, read_config
from ctm.checkpoint import Checkpoint, save
from ctm.config import CONFIG_CLASSES
from tests.fake_clock import FakeClock
from tests.fake_hub.fixtures import hub
from training.tasks import make_task
from ui import page
from ui.services.inference_service import InferenceService
from ui.services.model_catalog import ModelCatalog

__all__ = ["hub"]

SMALL_MODEL_CONFIG = {
    "iterations": 6,
    "d_model": 16,
    "d_input": 8,
    "heads": 2,
    "n_synch_out": 8,
    "n_synch_action": 8,
    "synapse_depth": 1,
    "memory_length": 3,
    "memory_hidden_dims": 2,
    "energy_head_enabled": True,
    "energy_hidden_dim": 4,
}
TASK_BY_CHECKPOINT = {"digits": "digits", "parity-16": "parity", "arithmetic": "arithmetic", "mazes": "mazes"}


def make_checkpoint(directory: Path, task_kind: str, **changes) -> Path:
    """Save an untrained checkpoint of a task."""
    task = make_task({"kind": task_kind})
    spec = task.get_spec()
    supported_keys = CONFIG_CLASSES[changes.get("kind", "ctm")].model_fields
    config = (
        {key: value for key, value in SMALL_MODEL_CONFIG.items() if key in supported_keys}
        | changes
        | {
            "backbone_type": spec.backbone,
            "out_dims": spec.positions * spec.classes,
            "prediction_reshaper": spec.prediction_reshaper,
        }
    )
    model = build_model(read_config(config), spec.in_features).eval()
    policy_record = {"policy": "energy<-0.05", "accuracy": 1.0, "mean_ticks": 3.0, "n": 9}
    halting = {"energy": {"kind": "calibrated"}, "policies": {"energy": policy_record}, "default": "energy"}
    return save(Checkpoint(model, task.describe(), halting), directory)


def make_inference_service(checkpoints_dir: Path, **more) -> InferenceService:
    """Return an inference service over a directory of checkpoints only."""
    return InferenceService(ModelCatalog(checkpoints_dir, cache_dir=checkpoints_dir / ".hub" / "cache", **more))


@pytest.fixture(scope="session")
def checkpoints_dir(tmp_path_factory) -> Path:
    """Return a directory of small checkpoints."""
    directory = tmp_path_factory.mktemp("checkpoints")
    for name, kind in TASK_BY_CHECKPOINT.items():
        make_checkpoint(directory / name, kind)
    return directory


@contextmanager
def serve_page(inference_service: InferenceService) -> Iterator[str]:
    """Serve the page of an inference service. Yield the address."""
    blocks = page.build_page(inference_service)
    options = page.get_launch_options(blocks.extra_routes)
    _, address, _ = blocks.queue(max_size=64).launch(prevent_thread_lock=True, quiet=True, **options)
    yield address
    blocks.close()


@pytest.fixture(scope="session")
def server_url(checkpoints_dir) -> Iterator[str]:
    """Serve the page with the small checkpoints. Yield the address."""
    with serve_page(make_inference_service(checkpoints_dir)) as address:
        yield address


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
