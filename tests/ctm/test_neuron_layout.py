"""Test the layout of neurons, and the file that holds it."""

import json
import shutil

import numpy as np
import pytest

from ctm.checkpoint import load, save
from ctm.checkpoint.layout import read_layout
from ctm.neuron_layout import compute_layout
from tests.paths import ROOT
from training.__main__ import main


def make_activations(neurons: int = 90) -> np.ndarray:
    """Return three groups of neurons with the same activations up to noise, in mixed order."""
    generator = np.random.default_rng(0)
    signals = generator.standard_normal((3, 200))
    return signals[np.arange(neurons) % 3] + 0.1 * generator.standard_normal((neurons, 200))


def test_neurons_with_similar_activations_are_neighbours():
    layout = compute_layout(make_activations())
    assert sorted(layout.order.tolist()) == list(range(90))
    groups = layout.order % 3
    changes = (groups != np.roll(groups, 1)).sum()
    assert changes <= 6, "each group is one or two arcs of the circle"


def test_places_lie_in_the_disc_and_do_not_overlap():
    places = compute_layout(make_activations()).places
    assert np.hypot(*places.T).max() <= 1 + 1e-9
    distances = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(distances, 9)
    assert distances.min() > 0.4 / np.sqrt(len(places))


@pytest.mark.parametrize("activations", [np.zeros((5, 7)), np.ones((1, 3)), np.eye(2)])
def test_constant_and_few_neurons_have_a_layout(activations):
    layout = compute_layout(activations)
    assert np.isfinite(layout.places).all()
    assert sorted(layout.order.tolist()) == list(range(len(activations)))


def test_the_command_reproduces_the_layout_of_a_bundled_checkpoint(tmp_path, capsys):
    source, copy = ROOT / "checkpoints" / "parity-16", tmp_path / "copy"
    shutil.copytree(source, copy)
    (copy / "layout.json").unlink()
    assert read_layout(copy) == {}
    main(["layout", str(copy)])
    assert "128 neurons" in capsys.readouterr().out
    new, stored = read_layout(copy), read_layout(source)
    assert new["n"] == stored["n"] > 100
    np.testing.assert_allclose(new["x"], stored["x"], atol=0.05)


def test_every_bundled_ctm_has_a_layout():
    """The data of `fashion` is not bundled: the page computes its layout."""
    for config_path in sorted((ROOT / "checkpoints").glob("*/config.json")):
        path, config = config_path.parent, json.loads(config_path.read_text())
        if path.name.endswith(("-ff", "-lstm")) or path.name == "fashion":
            assert not (path / "layout.json").exists()
        else:
            assert len(read_layout(path)["order"]) == config["d_model"]


def test_a_layout_is_saved_with_its_checkpoint(tmp_path):
    checkpoint = load(ROOT / "checkpoints" / "parity-16")
    save(checkpoint, tmp_path / "saved")
    assert read_layout(tmp_path / "saved") == checkpoint.layout
    assert checkpoint.layout


def test_a_layout_of_another_model_is_ignored_and_an_invalid_one_is_an_error(tmp_path):
    layout = {"order": [0, 1], "x": [0.0, 1.0], "y": [0.0, 0.0]}
    (tmp_path / "layout.json").write_text(json.dumps(layout))
    assert read_layout(tmp_path, 2)["order"] == [0, 1]
    assert read_layout(tmp_path, 3) == {}
    (tmp_path / "layout.json").write_text(json.dumps(layout | {"order": [0, 0]}))
    with pytest.raises(ValueError, match=r"layout\.json"):
        read_layout(tmp_path, 2)


def test_a_checkpoint_without_neurons_is_reported():
    with pytest.raises(SystemExit, match="has no layout"):
        main(["layout", str(ROOT / "checkpoints" / "brackets-ff")])
