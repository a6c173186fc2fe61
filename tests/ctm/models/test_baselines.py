"""Test the baselines against modules of torch, and properties that all model types share."""

import pytest
import torch
from torch.testing import assert_close

from ctm import count_parameters, read_config
from ctm.checkpoint import Checkpoint, load, save
from ctm.config import BACKBONES, CONFIG_CLASSES, FFConfig, LSTMConfig, infer_model_type
from ctm.conversion.convert import convert
from ctm.models.registry import check_parameter_limit
from inference import Engine, parse

EACH_MODEL_TYPE = pytest.mark.parametrize("kind", list(CONFIG_CLASSES))
LSTM_CONFIG = {"kind": "lstm", "num_layers": 2}
FF_CONFIG = {"kind": "ff"}


def unroll(model, inputs):
    features = model.encode(inputs)
    state, said = model.initial_state(features), []
    for _ in range(features.ticks):
        state, output = model.tick(state, features)
        said.append((state, output))
    return said


def test_a_tick_of_the_lstm_is_torchs_attention_and_torchs_lstm(make_model, make_inputs):
    machine = make_model(**LSTM_CONFIG)
    inputs = make_inputs(machine)
    with torch.no_grad():
        places = machine.kv_proj(machine.backbone(inputs).transpose(1, 2))
        hidden, cell = (
            start.unsqueeze(1).repeat(1, 3, 1) for start in (machine.start_hidden_state, machine.start_cell_state)
        )
        for state, output in unroll(machine, inputs):
            seen, where = machine.attention(
                machine.q_proj(hidden[-1]).unsqueeze(1), places, places, average_attn_weights=False
            )
            _, (hidden, cell) = machine.lstm(seen.transpose(0, 1), (hidden, cell))
            assert_close(state.hidden, hidden, rtol=1e-4, atol=1e-5)
            assert_close(state.attention, where.squeeze(2), rtol=1e-4, atol=1e-5)
            assert_close(output.answer, machine.output_projector(hidden[-1]), rtol=1e-4, atol=1e-5)


def test_a_feed_forward_network_answers_from_the_mean_of_all_places_at_every_tick(make_model, make_inputs):
    machine = make_model(**FF_CONFIG)
    inputs = make_inputs(machine)
    with torch.no_grad():
        features = machine.encode(inputs)
        state, output = machine.tick(machine.initial_state(features), features)
        expected = machine.output_projector[3:](machine.backbone(inputs).mean(2))
        assert_close(output.answer, expected)
        assert torch.equal(machine.tick(state, features)[1].answer, output.answer)
    verdict = Engine(machine, parse("certainty>2")).run(inputs)
    assert verdict.ticks.tolist() == [1] * 3 and set(verdict.halted_by) == {"budget"}
    assert Engine(machine, parse("ticks=1")).run(inputs).halted_by == ["ticks=1"] * 3


@EACH_MODEL_TYPE
def test_selecting_rows_then_ticking_equals_ticking_then_selecting_rows(kind, make_model, make_inputs):
    machine, rows = make_model(kind=kind, energy_head_enabled=True), torch.tensor([3, 1])
    features = machine.encode(make_inputs(machine, 4))
    state, _ = machine.tick(machine.initial_state(features), features)
    whole, said = machine.tick(state, features)
    few, few_said = machine.tick(state.select_rows(rows, 4), features.select_rows(rows))
    assert_close(few.latent, whole.latent[rows], rtol=1e-4, atol=1e-5)
    assert_close(few_said.answer, said.answer[rows], rtol=1e-4, atol=1e-5)
    assert_close(few_said.energy, said.energy[rows], rtol=1e-4, atol=1e-5)
    assert few.latent.shape == (2, machine.energy_proj[0].in_features)


@EACH_MODEL_TYPE
def test_the_unroll_runs_all_ticks_and_the_engine_stops_early(kind, make_model, make_inputs):
    machine = make_model(kind=kind, energy_head_enabled=True, energy_sees_neurons=True)
    inputs = make_inputs(machine, 30)
    with torch.no_grad():
        said, thought = [output for _, output in unroll(machine, inputs)], machine(inputs)
    assert_close(thought.answers, torch.stack([output.answer for output in said], 2), rtol=1e-4, atol=1e-5)
    assert_close(thought.energies, torch.stack([output.energy for output in said], 1), rtol=1e-4, atol=1e-5)
    rule = f"energy<{thought.energies[:, 0].median():.4f}"
    verdict = Engine(machine, parse(rule)).run(inputs)
    seated = Engine(machine, parse(rule), max_batch_slots=4).run(inputs)
    assert seated.ticks.tolist() == verdict.ticks.tolist()
    assert_close(seated.answer, verdict.answer, rtol=1e-4, atol=1e-5)
    assert (verdict.ticks == 1).sum() > 0 and (verdict.ticks <= machine.config.iterations).all()
    for row, tick in enumerate(verdict.answer_tick.tolist()):
        assert_close(verdict.answer[row], thought.answers[row, :, tick - 1], rtol=1e-4, atol=1e-5)


@EACH_MODEL_TYPE
def test_a_checkpoint_of_any_kind_is_saved_loaded_and_converted(kind, make_model, make_inputs, tmp_path):
    machine = make_model(kind=kind, energy_head_enabled=True, prediction_reshaper=[3, 2])
    inputs, published = make_inputs(machine), machine.config.to_dict()
    save(Checkpoint(machine), tmp_path / "mine")
    loaded = load(tmp_path / "mine").model
    assert loaded.config == machine.config and infer_model_type(published) == kind and "kind" not in published
    torch.save({"model_state_dict": machine.state_dict(), "config": published}, tmp_path / "a.pt")
    converted = convert(tmp_path / "a.pt", tmp_path / "out").model
    assert converted.config == machine.config
    with torch.no_grad():
        assert torch.equal(loaded(inputs).answers, machine(inputs).answers)
        assert torch.equal(converted(inputs).answers, machine(inputs).answers)


@EACH_MODEL_TYPE
def test_every_parameter_gets_a_gradient(kind, make_model, make_inputs):
    machine = make_model(kind=kind, energy_head_enabled=True, dropout=0.1).train()
    thought = machine(make_inputs(machine))
    (thought.answers.square().sum() + thought.energies.sum()).backward()
    assert [name for name, parameter in machine.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("backbone", [*BACKBONES, "tokens-7x6"])
@pytest.mark.parametrize("kind", ["lstm", "ff"])
def test_baselines_accept_every_backbone(kind, backbone):
    values = {"kind": kind, "d_model": 12, "backbone_type": backbone, "out_dims": 6}
    values |= {"iterations": 2, "d_input": 8, "heads": 2} if kind == "lstm" else {}
    assert count_parameters(read_config(values), 3) > 12


def test_the_published_forms_hold_the_published_keys():
    lstm = {
        "iterations": 2,
        "d_model": 12,
        "d_input": 8,
        "heads": 2,
        "backbone_type": "none",
        "num_layers": 1,
        "positional_embedding_type": "none",
        "out_dims": 6,
        "prediction_reshaper": [-1],
        "dropout": 0.0,
    }
    feed = {"d_model": 12, "backbone_type": "resnet18-1", "out_dims": 6, "dropout": 0.5}
    assert LSTMConfig.parse(lstm).to_dict() == lstm and FFConfig.parse(feed).to_dict() == feed
    more = feed | {"prediction_reshaper": [3, 2], "energy_head_enabled": True, "energy_hidden_dim": 9}
    assert FFConfig.parse(more).to_dict() == more
    del more["energy_hidden_dim"]
    assert FFConfig.parse(more).to_dict() == more | {"energy_hidden_dim": 64}, "no file relies on a default of a head"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "gru"}, "`model.kind` must be one of ctm, lstm, ff: got 'gru'"),
        ({"kind": ["ctm"]}, "`model.kind` must be one of"),
        ({"kind": "lstm", "n_synch_out": 3}, "Unknown setting `model.n_synch_out`"),
        ({"kind": "ff", "iterations": 3}, "Unknown setting `model.iterations`"),
        ({"num_layers": 1, "memory_length": 3}, "Unknown setting `model.memory_length`"),
        ({"d_modle": 3, "backbone_type": "none"}, "did you mean `d_model`"),
        ({}, "`model.memory_length` is missing"),
        (3, "model must be a group"),
        (
            LSTM_CONFIG
            | {"iterations": 1, "d_model": 4, "d_input": 3, "heads": 2, "backbone_type": "none", "out_dims": 2},
            "d_input must be a multiple of heads",
        ),
        (FF_CONFIG | {"d_model": 4, "backbone_type": "qamnist_backbone", "out_dims": 2}, "needs model type ctm"),
        (
            FF_CONFIG | {"d_model": 4, "backbone_type": "none", "out_dims": 3, "prediction_reshaper": [2, 2]},
            "does not fit",
        ),
    ],
)
def test_other_settings_are_rejected_in_a_sentence(values, words):
    with pytest.raises(ValueError) as caught:
        read_config(values, "model")
    assert words in str(caught.value)


def test_an_oversized_lstm_is_rejected_before_it_is_built():
    config = read_config(
        LSTM_CONFIG
        | {"iterations": 1, "d_model": 20_000, "d_input": 8, "heads": 2, "backbone_type": "none", "out_dims": 2}
    )
    with pytest.raises(ValueError, match=r"asks for 4\.8 billion parameters.* Lower d_model\."):
        check_parameter_limit(config, 3)
