"""Test the service that answers requests about the inside of predictions of the server."""

import pytest

from tests.paths import ROOT
from training.pipeline import pipeline
from ui.services import inside_service
from ui.services.inside_service import FORGOTTEN, InsideService, RememberedInput


@pytest.fixture(scope="module")
def loaded():
    return pipeline(ROOT / "checkpoints" / "arithmetic")


@pytest.fixture
def service(loaded) -> InsideService:
    return InsideService(lambda name: loaded)


def remember(service: InsideService, loaded, record_id: str, text: str = "2 4 6 8") -> None:
    """Remember an input as a prediction does."""
    remembered = RememberedInput("arithmetic", loaded.parse_input(text), loaded.parse_policy("ticks=3"))
    service.remember(record_id, remembered)


def test_a_remembered_prediction_is_answered(service, loaded):
    remember(service, loaded, "a")
    assert service.answer("a", {"what": "overview"})["ticks"] == 3
    assert service.answer("a", {"what": "neuron", "neuron": 5})["neuron"] == 5


def test_the_oldest_inputs_and_views_are_forgotten(service, loaded, monkeypatch):
    monkeypatch.setattr(inside_service, "MAX_REMEMBERED_INPUTS", 2)
    monkeypatch.setattr(inside_service, "MAX_VIEWS", 1)
    for record_id in "abc":
        remember(service, loaded, record_id)
    with pytest.raises(ValueError, match=FORGOTTEN):
        service.answer("a", {"what": "overview"})
    for record_id in "bcb":
        assert service.answer(record_id, {"what": "overview"})["ticks"] == 3
    assert list(service._views) == ["b"]


@pytest.mark.parametrize(
    ("record_id", "request_data"), [(None, {"what": "overview"}), ([1], {}), ("a", None), ("a", "x"), ("unknown", {})]
)
def test_other_values_are_reported_in_one_sentence(service, loaded, record_id, request_data):
    remember(service, loaded, "a")
    with pytest.raises(ValueError, match="no longer in memory"):
        service.answer(record_id, request_data)
