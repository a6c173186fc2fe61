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
    """Return the state and the output of every tick."""
    encoded = model.encode(inputs)
    state = model.initial_state(encoded)
    ticks = []
    for _ in range(encoded.ticks):
        state, output = model.tick(state, encoded)
        ticks.append((state, output))
    return ticks


def test_an_lstm_tick_equals_attention_and_lstm_of_torch(make_model, make_inputs):
    model = make_model(**LSTM_CONFIG)
    inputs = make_inputs(model)
    with torch.no_grad():
        features = model.kv_proj(model.backbone(inputs).transpose(1, 2))
        hidden, cell = (
            initial.unsqueeze(1).repeat(1, 3, 1) for initial in (model.start_hidden_state, model.start_cell_state)
        )
        for state, output in unroll(model, inputs):
            attended, attention_weights = model.attention(
                model.q_proj(hidden[-1]).unsqueeze(1), features, features, average_attn_weights=False
            )
            _, (hidden, cell) = model.lstm(attended.transpose(0, 1), (hidden, cell))
            assert_close(state.hidden, hidden, rtol=1e-4, atol=1e-5)
            assert_close(state.attention, attention_weights.squeeze(2), rtol=1e-4, atol=1e-5)
            assert_close(output.answer, model.output_projector(hidden[-1]), rtol=1e-4, atol=1e-5)


def test_a_feed_forward_network_answers_from_the_mean_of_all_positions_at_every_tick(make_model, make_inputs):
    model = make_model(**FF_CONFIG)
    inputs = make_inputs(model)
    with torch.no_grad():
        encoded = model.encode(inputs)
        state, output = model.tick(model.initial_state(encoded), encoded)
        expected = model.output_projector[3:](model.backbone(inputs).mean(2))
        assert_close(output.answer, expected)
        assert torch.equal(model.tick(state, encoded)[1].answer, output.answer)
    result = Engine(model, parse("certainty>2")).run(inputs)
    assert result.ticks.tolist() == [1] * 3 and set(result.halted_by) == {"budget"}
    assert Engine(model, parse("ticks=1")).run(inputs).halted_by == ["ticks=1"] * 3


@EACH_MODEL_TYPE
def test_selecting_rows_then_ticking_equals_ticking_then_selecting_rows(kind, make_model, make_inputs):
    model, rows = make_model(kind=kind, energy_head_enabled=True), torch.tensor([3, 1])
    encoded = model.encode(make_inputs(model, 4))
    state, _ = model.tick(model.initial_state(encoded), encoded)
    next_state, output = model.tick(state, encoded)
    selected_state, selected_output = model.tick(state.select_rows(rows, 4), encoded.select_rows(rows))
    assert_close(selected_state.latent, next_state.latent[rows], rtol=1e-4, atol=1e-5)
    assert_close(selected_output.answer, output.answer[rows], rtol=1e-4, atol=1e-5)
    assert_close(selected_output.energy, output.energy[rows], rtol=1e-4, atol=1e-5)
    assert selected_state.latent.shape == (2, model.energy_proj[0].in_features)


@EACH_MODEL_TYPE
def test_the_unroll_runs_all_ticks_and_the_engine_stops_early(kind, make_model, make_inputs):
    model = make_model(kind=kind, energy_head_enabled=True, energy_sees_neurons=True)
    inputs = make_inputs(model, 30)
    with torch.no_grad():
        outputs = [output for _, output in unroll(model, inputs)]
        unrolled = model(inputs)
    assert_close(unrolled.answers, torch.stack([output.answer for output in outputs], 2), rtol=1e-4, atol=1e-5)
    assert_close(unrolled.energies, torch.stack([output.energy for output in outputs], 1), rtol=1e-4, atol=1e-5)
    policy = f"energy<{unrolled.energies[:, 0].median():.4f}"
    result = Engine(model, parse(policy)).run(inputs)
    few_slots_result = Engine(model, parse(policy), max_batch_slots=4).run(inputs)
    assert few_slots_result.ticks.tolist() == result.ticks.tolist()
    assert_close(few_slots_result.answer, result.answer, rtol=1e-4, atol=1e-5)
    assert (result.ticks == 1).sum() > 0 and (result.ticks <= model.config.iterations).all()
    for row, tick in enumerate(result.answer_tick.tolist()):
        assert_close(result.answer[row], unrolled.answers[row, :, tick - 1], rtol=1e-4, atol=1e-5)


@EACH_MODEL_TYPE
def test_a_checkpoint_of_any_kind_is_saved_loaded_and_converted(kind, make_model, make_inputs, tmp_path):
    model = make_model(kind=kind, energy_head_enabled=True, prediction_reshaper=[3, 2])
    inputs = make_inputs(model)
    published_config = model.config.to_dict()
    save(Checkpoint(model), tmp_path / "mine")
    loaded_model = load(tmp_path / "mine").model
    assert (
        loaded_model.config == model.config
        and infer_model_type(published_config) == kind
        and "kind" not in published_config
    )
    torch.save({"model_state_dict": model.state_dict(), "config": published_config}, tmp_path / "a.pt")
    converted_model = convert(tmp_path / "a.pt", tmp_path / "out").model
    assert converted_model.config == model.config
    with torch.no_grad():
        assert torch.equal(loaded_model(inputs).answers, model(inputs).answers)
        assert torch.equal(converted_model(inputs).answers, model(inputs).answers)


@EACH_MODEL_TYPE
def test_every_parameter_gets_a_gradient(kind, make_model, make_inputs):
    model = make_model(kind=kind, energy_head_enabled=True, dropout=0.1).train()
    unrolled = model(make_inputs(model))
    (unrolled.answers.square().sum() + unrolled.energies.sum()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("backbone", [*BACKBONES, "tokens-7x6"])
@pytest.mark.parametrize("kind", ["lstm", "ff"])
def test_baselines_accept_every_backbone(kind, backbone):
    values = {"kind": kind, "d_model": 12, "backbone_type": backbone, "out_dims": 6}
    values |= {"iterations": 2, "d_input": 8, "heads": 2} if kind == "lstm" else {}
    assert count_parameters(read_config(values), 3) > 12


def test_published_forms_have_the_published_keys():
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
    feed_forward = {"d_model": 12, "backbone_type": "resnet18-1", "out_dims": 6, "dropout": 0.5}
    assert LSTMConfig.parse(lstm).to_dict() == lstm and FFConfig.parse(feed_forward).to_dict() == feed_forward
    feed_forward_with_energy = feed_forward | {
        "prediction_reshaper": [3, 2],
        "energy_head_enabled": True,
        "energy_hidden_dim": 9,
    }
    assert FFConfig.parse(feed_forward_with_energy).to_dict() == feed_forward_with_energy
    del feed_forward_with_energy["energy_hidden_dim"]
    assert FFConfig.parse(feed_forward_with_energy).to_dict() == feed_forward_with_energy | {"energy_hidden_dim": 64}, (
        "the default `energy_hidden_dim` is written"
    )


@pytest.mark.parametrize(
    ("values", "message"),
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
def test_invalid_settings_are_rejected_in_one_sentence(values, message):
    with pytest.raises(ValueError) as exc_info:
        read_config(values, "model")
    assert message in str(exc_info.value)


def test_an_oversized_lstm_is_rejected_before_it_is_built():
    config = read_config(
        LSTM_CONFIG
        | {"iterations": 1, "d_model": 20_000, "d_input": 8, "heads": 2, "backbone_type": "none", "out_dims": 2}
    )
    with pytest.raises(ValueError, match=r"asks for 4\.8 billion parameters.* Lower d_model\."):
        check_parameter_limit(config, 3)
