"""Test the file of measured costs, and the worker that measures in the background."""

import json
import threading

import pytest

from tests.training.jobs.conftest import make_tiny_config, wait_until
from training.jobs import estimate_store
from training.jobs.estimate_store import EstimateStore
from training.jobs.estimate_worker import EstimateWorker

FIGURES = {
    "seconds_per_step": 0.5,
    "seconds_per_evaluation": 2.0,
    "seconds_to_start": 3.0,
    "seconds_to_finalize": 7.0,
}


@pytest.fixture
def store(tmp_path) -> EstimateStore:
    return EstimateStore(tmp_path / "estimates.json", {"CPU_CORES": "2"})


def test_an_estimate_holds_for_every_number_of_steps(store):
    store.save(make_tiny_config(steps=10), FIGURES)
    longer = make_tiny_config(steps=100).with_overrides({"train.eval_every": 20, "train.seed": 5})
    assert store.get(longer).predict_seconds(longer) == pytest.approx(3 + 100 * (0.5 + 2 / 20) + 7)


@pytest.mark.parametrize(
    "change", [{"model.d_model": 32}, {"train.batch_size": 7}, {"task.length": 5}, {"finalize.fit_steps": 9}]
)
def test_another_cost_needs_another_estimate(store, change):
    store.save(make_tiny_config(), FIGURES)
    assert store.get(make_tiny_config()) is not None
    assert store.get(make_tiny_config().with_overrides(change)) is None


def test_an_estimate_holds_for_its_threads_and_versions(store, tmp_path, monkeypatch):
    store.save(make_tiny_config(), FIGURES, is_shared=True)
    assert store.get(make_tiny_config()).is_shared
    assert EstimateStore(store.path, {"CPU_CORES": "1"}).get(make_tiny_config()) is not None, "one job thread in both"
    monkeypatch.setattr(estimate_store, "count_job_threads", lambda _: 3)
    assert store.get(make_tiny_config()) is None
    monkeypatch.undo()
    monkeypatch.setattr(estimate_store, "ESTIMATE_VERSION", estimate_store.ESTIMATE_VERSION + 1)
    assert store.get(make_tiny_config()) is None


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"KEY": 3}', '{"KEY": {"figures": {}}}', '{"KEY": {"figures": FIGURES, "measured_at": "now"}}',
     '{"KEY": {"figures": {"seconds_per_step": NaN}, "measured_at": 1}}'],
)  # fmt: skip
def test_a_damaged_file_means_that_nothing_is_measured(store, damage):
    key = store.build_key(make_tiny_config())
    store.path.write_text(damage.replace("KEY", key).replace("FIGURES", json.dumps(FIGURES)))
    assert store.get(make_tiny_config()) is None
    store.save(make_tiny_config(), FIGURES)
    assert store.get(make_tiny_config()).figures == FIGURES


def test_the_oldest_estimates_are_dropped(store, monkeypatch):
    monkeypatch.setattr(estimate_store, "MAX_ESTIMATES", 2)
    configs = [make_tiny_config().with_overrides({"train.batch_size": size}) for size in (2, 3, 4)]
    for config in configs:
        store.save(config, FIGURES)
    assert [store.get(config) is not None for config in configs] == [False, True, True]


def test_the_worker_measures_what_is_missing_and_nothing_while_a_run_trains(store, monkeypatch):
    monkeypatch.setattr("training.jobs.estimate_worker.POLL_INTERVAL_S", 0.01)
    is_training, measured = threading.Event(), []
    is_training.set()

    def measure(config) -> None:
        measured.append(config.train.batch_size)
        if config.train.batch_size == 3:
            raise ValueError("it is too large")
        store.save(config, FIGURES)

    configs = [make_tiny_config().with_overrides({"train.batch_size": size}) for size in (2, 3, 4)]
    store.save(configs[2], FIGURES)
    worker = EstimateWorker(store, measure, is_training.is_set)
    worker.request(configs)
    assert worker.is_busy and worker.is_waiting(configs[0]) and not worker.is_waiting(configs[2])
    assert not threading.Event().wait(0.1) and measured == [], "a run is training"
    is_training.clear()
    wait_until(lambda: not worker.is_busy, 5)
    assert measured == [2, 3] and worker.get_failure(configs[1]) == "it is too large"
    worker.request(configs)
    assert not worker.is_busy, "what failed is not tried again"
    worker.close()
