"""Test the Plotly figures: the same data gives the same figure, and no value is left out."""

import plotly.graph_objects as go
import pytest

from tests.ui import sample_records
from tests.ui.conftest import make_inference_service
from ui.components.plotly_figures import MAX_CLASSES, build_thought_figure

TEXTS = {"parity-16": "1011", "arithmetic": "3 7 11 15"}


@pytest.mark.parametrize("name", TEXTS)
def test_a_figure_shows_every_tick_of_every_series(checkpoints_dir, name):
    record = make_inference_service(checkpoints_dir).predict(name, TEXTS[name], "energy<-9|certainty>0.99")
    figure = go.Figure(build_thought_figure(record))  # raises for properties that Plotly does not know
    energy, certainty, answers = figure.data
    assert list(energy.y) == record["energy"] and list(certainty.y) == record["certainty"]
    assert [len(row) for row in answers.z] == [record["ticks"]] * len(record["answers_by_tick"][0])
    assert sorted(shape.y0 for shape in figure.layout.shapes) == [-9.0, 0.99]


def test_a_figure_shows_the_most_probable_of_many_classes():
    classes = 40
    last = [0.001] * classes
    last[7], last[33] = 0.5, 0.4
    labels, probabilities = [str(c) for c in range(classes)], [[1 / classes] * classes, last]
    record = {
        "ticks": 2,
        "energy": None,
        "p_correct": None,
        "certainty": [0.1, 0.6],
        "lines": [],
        "choices": {"kind": "classes", "labels": labels, "probabilities": probabilities},
    }
    certainty, answers = go.Figure(build_thought_figure(record)).data
    assert certainty.name == "certainty"
    assert len(answers.y) == MAX_CLASSES and {"7", "33"} <= set(answers.y)


def test_emitted_numbers_are_drawn_at_their_tick_and_height():
    figure = go.Figure(build_thought_figure(sample_records.make_ctc_record()))
    _, trace = figure.data
    assert list(trace.x) == [2, 4, 6, 7] and list(trace.y) == [-1.5, 3, 40, 7]
    assert list(trace.text) == ["-1.5", "3", "40", "7"] and list(trace.marker.color) == [0.8, 0.9, 0.9, 0.95]
    assert figure.layout.yaxis3.type == "linear"
